/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The query language of `select`: a filter over rows of the table, an order and a limit.
//
//   query      : [expr] [ORDER BY attribute [ASC|DESC] {, attribute [ASC|DESC]}] [LIMIT number]
//   expr       : and {OR and}
//   and        : not {AND not}
//   not        : NOT not | comparison
//   comparison : operand CMP operand | '(' expr ')'
//   operand    : attribute | number | string
//   CMP        : <= < == = != >= > ~ !~       the last two: POSIX extended regular expressions
//   number     : 0x… or decimal, then K, M or G (1024, 1024², 1024³)
//   string     : "…" or '…', no escapes
//
// Keywords in any case, attributes in lower case. Both sides of a comparison have one type: a
// number or a text. Comparisons do not chain.
#ifndef HW_ANALYSIS_QUERY_H
#define HW_ANALYSIS_QUERY_H

#include <regex.h>

#include "heap/heap.h"

enum hw_attribute {
	HW_ATTRIBUTE_NONE,
	HW_ATTRIBUTE_DOMAIN,
	HW_ATTRIBUTE_KIND,
	HW_ATTRIBUTE_DETAIL,
	HW_ATTRIBUTE_STATE, // the word, or its class: "free" matches "tcache" too
	HW_ATTRIBUTE_ALLOCATOR,
	HW_ATTRIBUTE_ADDR, // the same as start
	HW_ATTRIBUTE_START,
	HW_ATTRIBUTE_END,  // the last byte
	HW_ATTRIBUTE_SIZE, // bytes of the whole block
	HW_ATTRIBUTE_COUNT
};

const char *hw_attribute_name(enum hw_attribute attribute);
bool hw_attribute_is_text(enum hw_attribute attribute);
enum hw_attribute hw_attribute_find(const char *name, size_t len);

const char *
hw_allocator_word(enum hw_allocator allocator);       // "glibc", "pymalloc", "mimalloc", "none"
const char *hw_state_class_word(enum hw_state state); // "in use", "free", …

enum hw_compare {
	HW_COMPARE_NONE,
	HW_COMPARE_LT,
	HW_COMPARE_LE,
	HW_COMPARE_EQ,
	HW_COMPARE_NE,
	HW_COMPARE_GE,
	HW_COMPARE_GT,
	HW_COMPARE_MATCH,
	HW_COMPARE_NO_MATCH
};

// ---- tokens: the parser's and the completion's ----
enum hw_token_kind {
	HW_TOKEN_END,
	HW_TOKEN_BAD,
	HW_TOKEN_NUMBER,
	HW_TOKEN_STRING,
	HW_TOKEN_NAME,
	HW_TOKEN_COMPARE,
	HW_TOKEN_OPEN,
	HW_TOKEN_CLOSE,
	HW_TOKEN_COMMA,
	HW_TOKEN_AND,
	HW_TOKEN_OR,
	HW_TOKEN_NOT,
	HW_TOKEN_ORDER,
	HW_TOKEN_BY,
	HW_TOKEN_ASC,
	HW_TOKEN_DESC,
	HW_TOKEN_LIMIT,
};

struct hw_token {
	enum hw_token_kind kind;
	size_t at, len;        // bytes of the query
	uint64_t number;       // HW_TOKEN_NUMBER
	enum hw_compare op;    // HW_TOKEN_COMPARE
	const char *complaint; // HW_TOKEN_BAD: what is wrong with it
};

// The token at or after `at`. At the end: HW_TOKEN_END with at == strlen(text), for ever.
struct hw_token hw_query_lex(const char *text, size_t at);

// ---- queries ----
enum hw_operand_kind { HW_OPERAND_NONE, HW_OPERAND_NUMBER, HW_OPERAND_TEXT, HW_OPERAND_ATTRIBUTE };

struct hw_operand {
	enum hw_operand_kind kind;
	enum hw_attribute attribute;
	uint64_t number;
	const char *text; // borrowed from the query
	size_t at, len;   // where it stands
};

enum hw_node_kind { HW_NODE_NONE, HW_NODE_OR, HW_NODE_AND, HW_NODE_NOT, HW_NODE_COMPARE };

struct hw_node {
	enum hw_node_kind kind;
	uint32_t first_child, next_sibling; // indexes into hw_query.nodes, 0: none
	bool by_category; // the answer depends on the category and the allocator alone
	uint32_t memo;    // 1 + row of hw_query.memo; 0: none
	enum hw_compare op;
	struct hw_operand left, right;
	regex_t *regex; // owned
};

struct hw_order {
	enum hw_attribute attribute;
	bool descending;
};

enum { HW_ORDER_MAX = 8, HW_QUERY_DEPTH_MAX = 100, HW_QUERY_LENGTH_MAX = 1 << 16 };

struct hw_query {
	char *text;
	HW_VEC(struct hw_node) nodes; // the syntax tree's arena; nodes[0] is nobody
	uint32_t root;                // 0: everything matches
	struct hw_order order[HW_ORDER_MAX];
	size_t order_count;
	uint64_t limit; // UINT64_MAX: none
	uint32_t memo_rows;
	uint32_t memo_keys; // category * 4 + allocator
	uint8_t *memo;      // 0 not known yet, 1 no, 2 yes
};

// NULL or blank text: everything. Errors are HW_ERROR_INVALID: a line that says what, the query, a
// caret under the place.
struct hw_error *hw_query_parse(const char *text, struct hw_query **ret) HW_MUST_USE;
void hw_query_destroy(struct hw_query *query); // accepts NULL

static inline void hw_query_cleanup(struct hw_query **query)
{
	hw_query_destroy(*query);
}
#define hw_cleanup_query __attribute__((cleanup(hw_query_cleanup)))

// Room to remember verdicts on that many categories. Not having it costs only time.
void hw_query_reserve_memo(struct hw_query *query, uint32_t category_count);
bool hw_query_matches(struct hw_query *query, const struct hw_row *row,
		      const struct hw_category *category);

// Rows that match, in the query's order (address order without one), at most its limit. With an
// order the rows are collected first: 2 × limit + 1024 of them at most. visit returns false to
// stop. An interrupted scan is success: see hw_progress_stopped().
struct hw_error *hw_query_run(struct hw_query *query, const struct hw_heap *heap,
			      struct hw_progress *progress,
			      bool (*visit)(void *payload, const struct hw_row *row),
			      void *payload) HW_MUST_USE;

static inline uint64_t hw_row_last(const struct hw_row *row)
{
	return row->start + row->size_bytes - (row->size_bytes ? 1 : 0);
}

#endif
