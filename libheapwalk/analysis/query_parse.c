/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Recursive descent; the depth is bounded by HW_QUERY_DEPTH_MAX. Chains of AND and OR are one node
// with many children, so that a long query does not make a deep tree.
#include <stdio.h>
#include <string.h>

#include "analysis/query.h"
#include "base/cleanup.h"

struct hw_parser {
	struct hw_query *query;
	const char *text; // as given
	struct hw_token token;
	unsigned depth;
};

static struct hw_error *hw_parse_or(struct hw_parser *parser, uint32_t *ret) HW_MUST_USE;

static void hw_advance(struct hw_parser *parser)
{
	parser->token = hw_query_lex(parser->text, parser->token.at + parser->token.len);
}

// "HEAD:", the query on one line, a caret under `at` with the hint behind it.
static struct hw_error *hw_query_error(const struct hw_parser *parser, size_t at, const char *hint,
				       const char *head)
{
	hw_cleanup_free char *shown = strdup(parser->text);
	hw_cleanup_free char *blank = malloc(at + 1);
	if (!shown || !blank)
		return &hw_enomem;
	for (char *p = shown; *p; p++)
		*p = (unsigned char)*p < ' ' ? ' ' : *p;
	size_t columns = 0;
	for (size_t i = 0; i < at; i++)
		columns += ((unsigned char)shown[i] & 0xc0) != 0x80;
	memset(blank, ' ', columns);
	blank[columns] = 0;
	return hw_error_create(HW_ERROR_INVALID, "%s:\n%s\n%s^%s%s", head, shown, blank,
			       hint ? " " : "", hint ? hint : "");
}

static struct hw_error *hw_parse_error(const struct hw_parser *parser, const char *hint)
{
	const struct hw_token *token = &parser->token;
	hw_cleanup_free char *head = NULL;
	int n = token->kind == HW_TOKEN_END ? asprintf(&head, "Parse error at the end of the query")
					    : asprintf(&head, "Parse error at \"%.*s\"",
						       (int)token->len, parser->text + token->at);
	if (n < 0) {
		head = NULL;
		return &hw_enomem;
	}
	if (token->kind == HW_TOKEN_BAD)
		hint = token->complaint;
	return hw_query_error(parser, token->at, hint, head);
}

static struct hw_error *hw_unknown_attribute(const struct hw_parser *parser)
{
	char supported[128] = "";
	for (int i = HW_ATTRIBUTE_NONE + 1; i < HW_ATTRIBUTE_COUNT; i++) {
		if (*supported)
			strcat(supported, ",");
		strcat(supported, hw_attribute_name((enum hw_attribute)i)); // all known, all short
	}
	const struct hw_token *token = &parser->token;
	const char *name = parser->text + token->at;
	hw_cleanup_free char *head = NULL;
	if (asprintf(&head, "Unknown attribute \"%.*s\" (supported are %s) at \"%.*s\"",
		     (int)token->len, name, supported, (int)token->len, name) < 0) {
		head = NULL;
		return &hw_enomem;
	}
	return hw_query_error(parser, token->at, NULL, head);
}

// 0: out of memory.
static uint32_t hw_add_node(struct hw_query *query, const struct hw_node *node)
{
	if (!hw_vec_push(&query->nodes, *node))
		return 0;
	return (uint32_t)query->nodes.count - 1;
}

static struct hw_error *hw_parse_operand(struct hw_parser *parser, struct hw_operand *ret)
{
	const struct hw_token *token = &parser->token;
	struct hw_operand operand = { .at = token->at, .len = token->len };
	switch (token->kind) {
	case HW_TOKEN_NUMBER:
		operand.kind = HW_OPERAND_NUMBER;
		operand.number = token->number;
		break;
	case HW_TOKEN_STRING:
		operand.kind = HW_OPERAND_TEXT;
		// In the query's own copy the closing quote becomes the terminator.
		parser->query->text[token->at + token->len - 1] = 0;
		operand.text = parser->query->text + token->at + 1;
		break;
	case HW_TOKEN_NAME:
		operand.kind = HW_OPERAND_ATTRIBUTE;
		operand.attribute = hw_attribute_find(parser->text + token->at, token->len);
		if (!operand.attribute)
			return hw_unknown_attribute(parser);
		break;
	default:
		return hw_parse_error(parser, "expected an attribute, a number or a string");
	}
	hw_advance(parser);
	*ret = operand;
	return NULL;
}

static bool hw_operand_is_text(const struct hw_operand *operand)
{
	return operand->kind == HW_OPERAND_TEXT ||
	       (operand->kind == HW_OPERAND_ATTRIBUTE && hw_attribute_is_text(operand->attribute));
}

static bool hw_operand_by_category(const struct hw_operand *operand)
{
	return operand->kind != HW_OPERAND_ATTRIBUTE || hw_attribute_is_text(operand->attribute);
}

static struct hw_error *hw_type_error(const struct hw_parser *parser, const struct hw_node *node)
{
	const char *const type[] = { "a number", "a text" };
	hw_cleanup_free char *head = NULL;
	const struct hw_operand *l = &node->left, *r = &node->right;
	if (asprintf(&head, "Type error: %.*s is %s and %.*s is %s, at \"%.*s\"", (int)l->len,
		     parser->text + l->at, type[hw_operand_is_text(l)], (int)r->len,
		     parser->text + r->at, type[hw_operand_is_text(r)], (int)r->len,
		     parser->text + r->at) < 0) {
		head = NULL;
		return &hw_enomem;
	}
	return hw_query_error(parser, r->at, NULL, head);
}

static struct hw_error *hw_compile_regex(const struct hw_parser *parser, struct hw_node *node)
{
	const struct hw_operand *right = &node->right;
	if (!hw_operand_is_text(&node->left))
		return hw_type_error(parser, node);
	if (right->kind != HW_OPERAND_TEXT)
		return hw_query_error(parser, right->at, "expected a string",
				      "A regular expression is a string in quotes");
	regex_t *regex = calloc(1, sizeof(*regex));
	if (!regex)
		return &hw_enomem;
	int code = regcomp(regex, right->text, REG_EXTENDED | REG_NOSUB);
	if (code) {
		char why[128];
		regerror(code, regex, why, sizeof(why));
		free(regex);
		hw_cleanup_free char *head = NULL;
		if (asprintf(&head, "Bad regular expression at %.*s", (int)right->len,
			     parser->text + right->at) < 0) {
			head = NULL;
			return &hw_enomem;
		}
		return hw_query_error(parser, right->at, why, head);
	}
	node->regex = regex;
	return NULL;
}

static struct hw_error *hw_parse_comparison(struct hw_parser *parser, uint32_t *ret)
{
	if (parser->token.kind == HW_TOKEN_OPEN) {
		if (++parser->depth > HW_QUERY_DEPTH_MAX)
			return hw_parse_error(parser, "the query is nested more than 100 deep");
		hw_advance(parser);
		HW_TRY(hw_parse_or(parser, ret));
		if (parser->token.kind != HW_TOKEN_CLOSE)
			return hw_parse_error(parser, "expected \")\"");
		hw_advance(parser);
		parser->depth--;
		return NULL;
	}
	struct hw_node node = { .kind = HW_NODE_COMPARE };
	HW_TRY(hw_parse_operand(parser, &node.left));
	if (parser->token.kind != HW_TOKEN_COMPARE)
		return hw_parse_error(parser, "expected one of < <= = != >= > ~ !~");
	node.op = parser->token.op;
	hw_advance(parser);
	HW_TRY(hw_parse_operand(parser, &node.right));
	if (parser->token.kind == HW_TOKEN_COMPARE)
		return hw_parse_error(parser, "comparisons do not chain: join two with \"and\"");
	if (node.op == HW_COMPARE_MATCH || node.op == HW_COMPARE_NO_MATCH)
		HW_TRY(hw_compile_regex(parser, &node));
	else if (hw_operand_is_text(&node.left) != hw_operand_is_text(&node.right))
		return hw_type_error(parser, &node);
	node.by_category = hw_operand_by_category(&node.left) &&
			   hw_operand_by_category(&node.right);
	*ret = hw_add_node(parser->query, &node);
	if (!*ret) {
		if (node.regex)
			regfree(node.regex);
		free(node.regex);
		return &hw_enomem;
	}
	return NULL;
}

static struct hw_error *hw_parse_not(struct hw_parser *parser, uint32_t *ret)
{
	bool negate = false, any = false;
	for (; parser->token.kind == HW_TOKEN_NOT; hw_advance(parser)) {
		negate = !negate;
		any = true;
	}
	uint32_t child;
	HW_TRY(hw_parse_comparison(parser, &child));
	if (!any || !negate) {
		*ret = child;
		return NULL;
	}
	struct hw_node node = { .kind = HW_NODE_NOT,
				.first_child = child,
				.by_category = parser->query->nodes.data[child].by_category };
	*ret = hw_add_node(parser->query, &node);
	return *ret ? NULL : &hw_enomem;
}

// child {WORD child}: the child itself when there is one, else a node over all of them.
static struct hw_error *hw_parse_chain(struct hw_parser *parser, enum hw_token_kind word,
				       enum hw_node_kind kind,
				       struct hw_error *(*parse)(struct hw_parser *, uint32_t *),
				       uint32_t *ret)
{
	struct hw_query *query = parser->query;
	uint32_t first;
	HW_TRY(parse(parser, &first));
	if (parser->token.kind != word) {
		*ret = first;
		return NULL;
	}
	bool by_category = query->nodes.data[first].by_category;
	for (uint32_t last = first; parser->token.kind == word;) {
		uint32_t next;
		hw_advance(parser);
		HW_TRY(parse(parser, &next));
		query->nodes.data[last].next_sibling = next;
		by_category &= query->nodes.data[next].by_category;
		last = next;
	}
	struct hw_node node = { .kind = kind, .first_child = first, .by_category = by_category };
	*ret = hw_add_node(query, &node);
	return *ret ? NULL : &hw_enomem;
}

static struct hw_error *hw_parse_and(struct hw_parser *parser, uint32_t *ret)
{
	return hw_parse_chain(parser, HW_TOKEN_AND, HW_NODE_AND, hw_parse_not, ret);
}

static struct hw_error *hw_parse_or(struct hw_parser *parser, uint32_t *ret)
{
	return hw_parse_chain(parser, HW_TOKEN_OR, HW_NODE_OR, hw_parse_and, ret);
}

static struct hw_error *hw_parse_order(struct hw_parser *parser)
{
	struct hw_query *query = parser->query;
	hw_advance(parser);
	if (parser->token.kind != HW_TOKEN_BY)
		return hw_parse_error(parser, "expected \"by\"");
	do {
		hw_advance(parser);
		if (parser->token.kind != HW_TOKEN_NAME)
			return hw_parse_error(parser, "expected an attribute");
		if (query->order_count == HW_ORDER_MAX)
			return hw_parse_error(parser, "at most 8 attributes can be ordered by");
		struct hw_order order = { .attribute =
						  hw_attribute_find(parser->text + parser->token.at,
								    parser->token.len) };
		if (!order.attribute)
			return hw_unknown_attribute(parser);
		hw_advance(parser);
		order.descending = parser->token.kind == HW_TOKEN_DESC;
		if (parser->token.kind == HW_TOKEN_DESC || parser->token.kind == HW_TOKEN_ASC)
			hw_advance(parser);
		query->order[query->order_count++] = order;
	} while (parser->token.kind == HW_TOKEN_COMMA);
	return NULL;
}

static struct hw_error *hw_parse_query(struct hw_parser *parser)
{
	const char *expected = "expected \"and\", \"or\", \"order by\", \"limit\" or the end";
	struct hw_query *query = parser->query;
	hw_advance(parser);
	switch (parser->token.kind) {
	case HW_TOKEN_END:
	case HW_TOKEN_ORDER:
	case HW_TOKEN_LIMIT:
		break;
	default:
		HW_TRY(hw_parse_or(parser, &query->root));
	}
	if (parser->token.kind == HW_TOKEN_ORDER) {
		HW_TRY(hw_parse_order(parser));
		expected = "expected \",\", \"asc\", \"desc\", \"limit\" or the end";
	}
	if (parser->token.kind == HW_TOKEN_LIMIT) {
		hw_advance(parser);
		if (parser->token.kind != HW_TOKEN_NUMBER)
			return hw_parse_error(parser, "expected a number of rows");
		query->limit = parser->token.number;
		hw_advance(parser);
		expected = "nothing follows the limit";
	}
	return parser->token.kind == HW_TOKEN_END ? NULL : hw_parse_error(parser, expected);
}

// Slots for the largest subtrees whose answer a category decides. Depth is bounded by the parser.
static void hw_assign_memo(struct hw_query *query, uint32_t index)
{
	for (; index; index = query->nodes.data[index].next_sibling) {
		struct hw_node *node = &query->nodes.data[index];
		if (node->by_category)
			node->memo = ++query->memo_rows;
		else
			hw_assign_memo(query, node->first_child);
	}
}

struct hw_error *hw_query_parse(const char *text, struct hw_query **ret)
{
	text = text ? text : "";
	if (strlen(text) > HW_QUERY_LENGTH_MAX)
		return hw_error_create(HW_ERROR_INVALID, "the query is longer than %d bytes",
				       HW_QUERY_LENGTH_MAX);
	hw_cleanup_query struct hw_query *query = calloc(1, sizeof(*query));
	if (!query)
		return &hw_enomem;
	query->limit = UINT64_MAX;
	query->text = strdup(text);
	if (!query->text || !hw_vec_push(&query->nodes, (struct hw_node){ 0 }))
		return &hw_enomem;
	struct hw_parser parser = { .query = query, .text = text };
	HW_TRY(hw_parse_query(&parser));
	hw_assign_memo(query, query->root);
	*ret = hw_no_cleanup(query);
	return NULL;
}

void hw_query_destroy(struct hw_query *query)
{
	if (!query)
		return;
	hw_vec_foreach(node, &query->nodes)
	{
		if (node->regex)
			regfree(node->regex);
		free(node->regex);
	}
	hw_vec_deinit(&query->nodes);
	free(query->memo);
	free(query->text);
	free(query);
}
