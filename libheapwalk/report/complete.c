/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What may follow the words so far. Out of the same tables that parse them, so that it can't drift.
#include <stdio.h>
#include <string.h>

#include "analysis/query.h"
#include "analysis/snapshot.h"
#include "base/cleanup.h"
#include "base/strtab.h"
#include "report/report.h"

struct hw_completion {
	struct hw_session *session; // may be NULL
	enum hw_option_style style;
	const struct hw_command *command;
	const char *prefix; // the last word, as far as it was typed
	// What candidates begin with: `prefix` from `head_len` on, or more than it, by `skip` bytes, inside
	// a string with blanks.
	const char *fragment;
	size_t head_len, skip;
	void (*emit)(void *payload, const char *word);
	void *payload;
	struct hw_strtab seen; // each candidate once
};

static void hw_offer(struct hw_completion *completion, const char *word)
{
	if (strncmp(word, completion->fragment, strlen(completion->fragment)) != 0)
		return;
	size_t before = completion->seen.strings.count;
	uint32_t id = hw_strtab_intern(&completion->seen, word, strlen(word));
	if (id != UINT32_MAX && completion->seen.strings.count == before)
		return;
	hw_cleanup_free char *whole = NULL;
	if (asprintf(&whole, "%.*s%s", (int)completion->head_len, completion->prefix,
		     word + completion->skip) < 0)
		whole = NULL;
	if (whole)
		completion->emit(completion->payload, whole);
}

static void hw_offer_all(struct hw_completion *completion, const char *const *words)
{
	for (; words && *words; words++)
		hw_offer(completion, *words);
}

static void hw_offer_options(struct hw_completion *completion)
{
	for (const struct hw_command_option *option = completion->command->options; option->name;
	     option++) {
		char spelt[64];
		hw_offer(completion,
			 hw_option_spell(option, completion->style, spelt, sizeof(spelt)));
	}
}

// What an option takes; a key to sort by may say which way.
static void hw_offer_option_values(struct hw_completion *completion,
				   const struct hw_command_option *option)
{
	static const char *const ways[] = { ":asc", ":desc" };
	hw_offer_all(completion, option->values);
	const char *colon = strchr(completion->fragment, ':');
	for (const char *const *key = option->values; colon && key && *key; key++) {
		char spelt[64];
		for (size_t i = 0; i < HW_ARRAY_COUNT(ways) && !strcmp(option->name, "sort"); i++) {
			snprintf(spelt, sizeof(spelt), "%s%s", *key, ways[i]);
			hw_offer(completion, spelt);
		}
	}
}

// "--format=js" → "--format=json"
static bool hw_offer_joined_values(struct hw_completion *completion)
{
	const char *value;
	const struct hw_command_option *option =
		hw_option_find(completion->command, completion->style, completion->prefix, &value);
	if (!option || !value)
		return false;
	completion->head_len = (size_t)(value - completion->prefix);
	completion->fragment = value;
	hw_offer_option_values(completion, option);
	return true;
}

// ---- inside a query ----

// Texts that the walked table has for an attribute, in the quotes that were begun.
static void hw_offer_text(struct hw_completion *completion, const char *text)
{
	char quote = completion->fragment[0] == '\'' ? '\'' : '"';
	hw_cleanup_free char *quoted = NULL;
	if (!*text || strchr(text, quote))
		return;
	if (asprintf(&quoted, "%c%s%c", quote, text, quote) < 0)
		quoted = NULL;
	if (quoted)
		hw_offer(completion, quoted);
}

static void hw_offer_values(struct hw_completion *completion, enum hw_attribute attribute)
{
	static const char *const allocators[] = { "glibc", "pymalloc", "mimalloc", "none", NULL };
	static const char *const states[] = { "in use", "free", "overhead", "unknown", NULL };
	const char *const *fixed = attribute == HW_ATTRIBUTE_ALLOCATOR ? allocators
				   : attribute == HW_ATTRIBUTE_STATE   ? states
								       : NULL;
	for (; fixed && *fixed; fixed++)
		hw_offer_text(completion, *fixed);
	const struct hw_heap *heap = completion->session ? completion->session->heap : NULL;
	for (uint32_t i = 0; heap && i < hw_heap_category_count(heap); i++) {
		const struct hw_category *category = hw_heap_category(heap, i);
		switch (attribute) {
		case HW_ATTRIBUTE_DOMAIN:
			hw_offer_text(completion, category->domain);
			break;
		case HW_ATTRIBUTE_KIND:
			hw_offer_text(completion, category->kind);
			break;
		case HW_ATTRIBUTE_DETAIL:
			hw_offer_text(completion, category->detail);
			break;
		case HW_ATTRIBUTE_STATE:
			hw_offer_text(completion, category->state_word);
			break;
		default:
			return;
		}
	}
}

static void hw_offer_attributes(struct hw_completion *completion)
{
	for (int i = HW_ATTRIBUTE_NONE + 1; i < HW_ATTRIBUTE_COUNT; i++)
		hw_offer(completion, hw_attribute_name((enum hw_attribute)i));
}

static void hw_offer_operators(struct hw_completion *completion, enum hw_attribute attribute)
{
	static const char *const numbers[] = { "<", "<=", "=", "!=", ">=", ">", NULL };
	static const char *const texts[] = { "=", "!=", "~", "!~", NULL };
	hw_offer_all(completion, hw_attribute_is_text(attribute) ? texts : numbers);
}

// The place in the query that its tokens lead to, up to the one that is being typed.
struct hw_query_place {
	enum hw_token_kind last, before;
	enum hw_attribute attribute; // the last one named
	bool is_ordering;            // behind "order by"
	size_t at;                   // where what is being typed begins
};

// Whether a token at the end of the text may still grow. An operator is meant to be one when a word
// began before it: "kind=" waits for a text, "<" perhaps for "=".
static bool hw_is_being_typed(const struct hw_token *token, size_t word_at)
{
	switch (token->kind) {
	case HW_TOKEN_OPEN:
	case HW_TOKEN_CLOSE:
	case HW_TOKEN_COMMA:
		return false;
	case HW_TOKEN_COMPARE:
		return token->at == word_at;
	default:
		return true;
	}
}

// `word_at`: where the last word begins; "" when the text ends with a blank.
static struct hw_query_place hw_query_place(const char *text, size_t word_at)
{
	struct hw_query_place place = { .at = strlen(text) };
	struct hw_token token = hw_query_lex(text, 0);
	for (; token.kind != HW_TOKEN_END; token = hw_query_lex(text, token.at + token.len)) {
		if (!text[token.at + token.len] && hw_is_being_typed(&token, word_at)) {
			place.at = token.at;
			break;
		}
		if (token.kind == HW_TOKEN_BAD)
			break;
		place.before = place.last;
		place.last = token.kind;
		if (token.kind == HW_TOKEN_NAME)
			place.attribute = hw_attribute_find(text + token.at, token.len);
		place.is_ordering |= token.kind == HW_TOKEN_ORDER;
	}
	return place;
}

static void hw_offer_at(struct hw_completion *completion, struct hw_query_place place)
{
	static const char *const joins[] = { "and", "or", "order", "limit", NULL };
	switch (place.last) {
	case HW_TOKEN_COMPARE:
		hw_offer_values(completion, place.attribute);
		return;
	case HW_TOKEN_NAME:
		if (place.is_ordering) {
			hw_offer(completion, "asc");
			hw_offer(completion, "desc");
			hw_offer(completion, "limit");
		} else if (place.before == HW_TOKEN_COMPARE) {
			hw_offer_all(completion, joins);
		} else {
			hw_offer_operators(completion, place.attribute);
		}
		return;
	case HW_TOKEN_ORDER:
		hw_offer(completion, "by");
		return;
	case HW_TOKEN_NUMBER:
	case HW_TOKEN_STRING:
	case HW_TOKEN_CLOSE:
		if (place.before != HW_TOKEN_LIMIT)
			hw_offer_all(completion, joins);
		return;
	case HW_TOKEN_ASC:
	case HW_TOKEN_DESC:
		hw_offer(completion, "limit");
		return;
	case HW_TOKEN_LIMIT:
		return;
	case HW_TOKEN_END: // nothing yet
		hw_offer_attributes(completion);
		hw_offer(completion, "not");
		hw_offer(completion, "order");
		hw_offer(completion, "limit");
		return;
	case HW_TOKEN_BY:
	case HW_TOKEN_COMMA:
		hw_offer_attributes(completion);
		return;
	default: // and, or, not, (
		hw_offer_attributes(completion);
		hw_offer(completion, "not");
		return;
	}
}

// `before`: the query up to the last word.
static void hw_offer_query(struct hw_completion *completion, const char *before)
{
	hw_cleanup_free char *text = NULL;
	size_t word_at = strlen(before);
	if (asprintf(&text, "%s%s", before, completion->prefix) < 0)
		text = NULL;
	if (!text)
		return;
	struct hw_query_place place = hw_query_place(text, word_at);
	completion->fragment = text + place.at;
	completion->head_len = place.at > word_at ? place.at - word_at : 0;
	completion->skip = place.at < word_at ? word_at - place.at : 0;
	hw_offer_at(completion, place);
	completion->fragment = completion->prefix;
}

// ---- words ----

static void hw_offer_labels(struct hw_completion *completion)
{
	const struct hw_labels *labels = completion->session ? completion->session->labels : NULL;
	for (size_t i = 0; labels && i < labels->list.count; i++)
		hw_offer(completion, labels->list.data[i].name);
}

static void hw_complete_argument(struct hw_completion *completion, int argc,
				 const char *const *argv)
{
	const struct hw_command *command = completion->command;
	hw_cleanup_free char *text = strdup("");
	bool options_ended = false;
	for (int i = 1; i < argc && text; i++) {
		const char *value;
		if (!options_ended && !strcmp(argv[i], "--")) {
			options_ended = true;
			continue;
		}
		const struct hw_command_option *option =
			options_ended ? NULL
				      : hw_option_find(command, completion->style, argv[i], &value);
		if (!option) {
			char *longer;
			if (asprintf(&longer, "%s%s ", text, argv[i]) < 0)
				return;
			free(text);
			text = longer;
		} else if (option->metavar && !value && ++i == argc) {
			hw_offer_option_values(completion, option); // its value is what is wanted
			return;
		}
	}
	bool is_option = !options_ended && completion->prefix[0] == '-';
	if (is_option && !hw_offer_joined_values(completion))
		hw_offer_options(completion);
	if (!is_option && strstr(command->usage, "LABEL"))
		hw_offer_labels(completion);
	if (!is_option && text && strstr(command->usage, "QUERY"))
		hw_offer_query(completion, text);
}

void hw_complete(struct hw_session *session, enum hw_option_style style, int argc,
		 const char *const *argv, const char *prefix,
		 void (*emit)(void *payload, const char *word), void *payload)
{
	struct hw_completion completion = { .session = session,
					    .style = style,
					    .prefix = prefix ? prefix : "",
					    .fragment = prefix ? prefix : "",
					    .emit = emit,
					    .payload = payload };
	hw_strtab_init(&completion.seen);
	for (const struct hw_command *command = hw_commands(); command->name; command++) {
		if (argc <= 0)
			hw_offer(&completion, command->name);
		else if (!strcmp(command->name, argv[0]))
			completion.command = command;
	}
	if (completion.command)
		hw_complete_argument(&completion, argc, argv);
	hw_strtab_deinit(&completion.seen);
}
