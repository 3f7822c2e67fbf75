/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/query.h"

#include <string.h>

#include "base/cleanup.h"

enum {
	HW_MEMO_NO = 1,
	HW_MEMO_YES = 2,
	HW_ALLOCATORS_MAX = HW_ALLOCATOR_COUNT,
	HW_POLL_ROWS = 1 << 16
};
enum { HW_MEMO_BYTES_MAX = 64 << 20 };

const char *hw_allocator_word(enum hw_allocator allocator)
{
	switch (allocator) {
	case HW_ALLOCATOR_GLIBC:
		return "glibc";
	case HW_ALLOCATOR_PYMALLOC:
		return "pymalloc";
	case HW_ALLOCATOR_MIMALLOC:
		return "mimalloc";
	case HW_ALLOCATOR_NONE:
	case HW_ALLOCATOR_COUNT:
		break;
	}
	return "none";
}

const char *hw_state_class_word(enum hw_state state)
{
	switch (state) {
	case HW_STATE_IN_USE:
		return "in use";
	case HW_STATE_FREE:
		return "free";
	case HW_STATE_OVERHEAD:
		return "overhead";
	case HW_STATE_UNKNOWN:
		break;
	}
	return "unknown";
}

// One row with its category: what attributes are taken from.
struct hw_subject {
	const struct hw_row *row;
	const struct hw_category *category;
};

static uint64_t hw_number_of(const struct hw_operand *operand, const struct hw_subject *subject)
{
	if (operand->kind == HW_OPERAND_NUMBER)
		return operand->number;
	switch (operand->attribute) {
	case HW_ATTRIBUTE_END:
		return hw_row_last(subject->row);
	case HW_ATTRIBUTE_SIZE:
		return subject->row->size_bytes;
	default:
		return subject->row->start;
	}
}

static const char *hw_text_of_attribute(enum hw_attribute attribute,
					const struct hw_subject *subject)
{
	switch (attribute) {
	case HW_ATTRIBUTE_DOMAIN:
		return subject->category->domain;
	case HW_ATTRIBUTE_KIND:
		return subject->category->kind;
	case HW_ATTRIBUTE_DETAIL:
		return subject->category->detail;
	case HW_ATTRIBUTE_STATE:
		return subject->category->state_word;
	case HW_ATTRIBUTE_ALLOCATOR:
		return hw_allocator_word(subject->row->allocator);
	default:
		return "";
	}
}

static const char *hw_text_of(const struct hw_operand *operand, const struct hw_subject *subject)
{
	return operand->kind == HW_OPERAND_TEXT ? operand->text
						: hw_text_of_attribute(operand->attribute, subject);
}

static bool hw_ordering_satisfies(int ordering, enum hw_compare op)
{
	switch (op) {
	case HW_COMPARE_LT:
		return ordering < 0;
	case HW_COMPARE_LE:
		return ordering <= 0;
	case HW_COMPARE_EQ:
		return ordering == 0;
	case HW_COMPARE_NE:
		return ordering != 0;
	case HW_COMPARE_GE:
		return ordering >= 0;
	case HW_COMPARE_GT:
		return ordering > 0;
	default:
		return false;
	}
}

// A state has two names: "tcache", and the class "free" that it belongs to.
static const char *hw_other_name(const struct hw_operand *operand, const struct hw_subject *subject)
{
	return operand->kind == HW_OPERAND_ATTRIBUTE && operand->attribute == HW_ATTRIBUTE_STATE
		       ? hw_state_class_word(subject->category->state)
		       : NULL;
}

static bool hw_text_equals(const struct hw_node *node, const struct hw_subject *subject)
{
	const char *left = hw_text_of(&node->left, subject);
	const char *right = hw_text_of(&node->right, subject);
	const char *left_class = hw_other_name(&node->left, subject);
	const char *right_class = hw_other_name(&node->right, subject);
	return !strcmp(left, right) || (left_class && !strcmp(left_class, right)) ||
	       (right_class && !strcmp(left, right_class));
}

static bool hw_regex_matches(const struct hw_node *node, const struct hw_subject *subject)
{
	const char *other = hw_other_name(&node->left, subject);
	return !regexec(node->regex, hw_text_of(&node->left, subject), 0, NULL, 0) ||
	       (other && !regexec(node->regex, other, 0, NULL, 0));
}

static bool hw_comparison_holds(const struct hw_node *node, const struct hw_subject *subject)
{
	if (node->regex)
		return hw_regex_matches(node, subject) == (node->op == HW_COMPARE_MATCH);
	bool is_text = node->left.kind == HW_OPERAND_TEXT ||
		       (node->left.kind == HW_OPERAND_ATTRIBUTE &&
			hw_attribute_is_text(node->left.attribute));
	if (!is_text) {
		uint64_t left = hw_number_of(&node->left, subject);
		uint64_t right = hw_number_of(&node->right, subject);
		return hw_ordering_satisfies((left > right) - (left < right), node->op);
	}
	if (node->op == HW_COMPARE_EQ || node->op == HW_COMPARE_NE)
		return hw_text_equals(node, subject) == (node->op == HW_COMPARE_EQ);
	return hw_ordering_satisfies(
		strcmp(hw_text_of(&node->left, subject), hw_text_of(&node->right, subject)),
		node->op);
}

static bool hw_node_holds(struct hw_query *query, uint32_t index, const struct hw_subject *subject);

static bool hw_node_compute(struct hw_query *query, const struct hw_node *node,
			    const struct hw_subject *subject)
{
	switch (node->kind) {
	case HW_NODE_COMPARE:
		return hw_comparison_holds(node, subject);
	case HW_NODE_NOT:
		return !hw_node_holds(query, node->first_child, subject);
	case HW_NODE_AND:
	case HW_NODE_OR: {
		bool decisive = node->kind == HW_NODE_OR;
		for (uint32_t i = node->first_child; i; i = query->nodes.data[i].next_sibling) {
			if (hw_node_holds(query, i, subject) == decisive)
				return decisive;
		}
		return !decisive;
	}
	case HW_NODE_NONE:
		break;
	}
	return true;
}

static bool hw_node_holds(struct hw_query *query, uint32_t index, const struct hw_subject *subject)
{
	const struct hw_node *node = &query->nodes.data[index];
	uint32_t key = subject->row->category * HW_ALLOCATORS_MAX +
		       ((uint32_t)subject->row->allocator & (HW_ALLOCATORS_MAX - 1));
	if (!node->memo || key >= query->memo_keys)
		return hw_node_compute(query, node, subject);
	uint8_t *known = &query->memo[(size_t)(node->memo - 1) * query->memo_keys + key];
	if (!*known)
		*known = hw_node_compute(query, node, subject) ? HW_MEMO_YES : HW_MEMO_NO;
	return *known == HW_MEMO_YES;
}

void hw_query_reserve_memo(struct hw_query *query, uint32_t category_count)
{
	uint64_t keys = (uint64_t)category_count * HW_ALLOCATORS_MAX;
	free(query->memo);
	query->memo = NULL;
	query->memo_keys = 0;
	if (!query->memo_rows || !keys || keys > HW_MEMO_BYTES_MAX / query->memo_rows)
		return;
	query->memo = calloc(query->memo_rows, keys);
	query->memo_keys = query->memo ? (uint32_t)keys : 0;
}

bool hw_query_matches(struct hw_query *query, const struct hw_row *row,
		      const struct hw_category *category)
{
	struct hw_subject subject = { .row = row, .category = category };
	return !query->root || hw_node_holds(query, query->root, &subject);
}

// ---- running ----
struct hw_query_scan {
	struct hw_query *query;
	const struct hw_heap *heap;
	struct hw_progress *progress;
	bool (*visit)(void *payload, const struct hw_row *row);
	void *payload;
	uint64_t seen, matched;
	bool out_of_memory;
	HW_VEC(struct hw_row) rows; // with an order
};

static int hw_row_compare(const void *a, const void *b, void *payload)
{
	const struct hw_query_scan *scan = payload;
	const struct hw_row *left = a, *right = b;
	struct hw_subject subjects[2] = {
		{ left, hw_heap_category(scan->heap, left->category) },
		{ right, hw_heap_category(scan->heap, right->category) },
	};
	for (size_t i = 0; i < scan->query->order_count; i++) {
		const struct hw_order *order = &scan->query->order[i];
		int ordering;
		if (hw_attribute_is_text(order->attribute)) {
			ordering = strcmp(hw_text_of_attribute(order->attribute, &subjects[0]),
					  hw_text_of_attribute(order->attribute, &subjects[1]));
		} else {
			struct hw_operand operand = { .kind = HW_OPERAND_ATTRIBUTE,
						      .attribute = order->attribute };
			uint64_t l = hw_number_of(&operand, &subjects[0]);
			uint64_t r = hw_number_of(&operand, &subjects[1]);
			ordering = (l > r) - (l < r);
		}
		if (ordering)
			return order->descending ? -ordering : ordering;
	}
	return (left->start > right->start) - (left->start < right->start);
}

static void hw_scan_sort(struct hw_query_scan *scan)
{
	if (scan->rows.count)
		qsort_r(scan->rows.data, scan->rows.count, sizeof(*scan->rows.data), hw_row_compare,
			scan);
	if (scan->rows.count > scan->query->limit)
		scan->rows.count = scan->query->limit;
}

static bool hw_scan_collect(struct hw_query_scan *scan, const struct hw_row *row)
{
	uint64_t limit = scan->query->limit;
	if (limit < UINT64_MAX / 4 && scan->rows.count >= 2 * limit + 1024)
		hw_scan_sort(scan);
	scan->out_of_memory = !hw_vec_push(&scan->rows, *row);
	return !scan->out_of_memory;
}

static bool hw_scan_row(void *payload, const struct hw_row *row)
{
	struct hw_query_scan *scan = payload;
	if (!(++scan->seen & (HW_POLL_ROWS - 1)) && hw_progress_poll(scan->progress))
		return false;
	const struct hw_category *category = hw_heap_category(scan->heap, row->category);
	if (!hw_query_matches(scan->query, row, category))
		return true;
	if (scan->query->order_count)
		return hw_scan_collect(scan, row);
	if (!scan->visit(scan->payload, row))
		return false;
	return ++scan->matched < scan->query->limit;
}

struct hw_error *hw_query_run(struct hw_query *query, const struct hw_heap *heap,
			      struct hw_progress *progress,
			      bool (*visit)(void *payload, const struct hw_row *row), void *payload)
{
	struct hw_query_scan scan = { .query = query,
				      .heap = heap,
				      .progress = progress,
				      .visit = visit,
				      .payload = payload };
	if (!query->limit)
		return NULL;
	hw_query_reserve_memo(query, hw_heap_category_count(heap));
	hw_heap_visit(heap, 0, UINT64_MAX, hw_scan_row, &scan);
	hw_scan_sort(&scan);
	hw_vec_foreach(row, &scan.rows)
	{
		if (scan.out_of_memory || !visit(payload, row))
			break;
	}
	hw_vec_deinit(&scan.rows);
	return scan.out_of_memory ? &hw_enomem : NULL;
}
