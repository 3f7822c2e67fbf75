/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "heap/category.h"

#include <string.h>

static const struct {
	const char *domain, *kind;
} hw_claim_words[] = {
#define HW_X(name, domain, kind) { domain, kind },
	HW_CLAIM_KINDS(HW_X)
#undef HW_X
};

const char *hw_claim_kind_word(enum hw_claim_kind kind)
{
	return hw_claim_words[kind].kind;
}

// clang-format off
static const struct hw_category hw_fixed_categories[HW_CATEGORY_FIXED_COUNT] = {
	[HW_CATEGORY_NONE] = { "uncategorized", "not examined", "", HW_STATE_UNKNOWN, "unknown", 0 },
	[HW_CHUNK_TCACHE] = { "glibc", "tcache", "", HW_STATE_FREE, "tcache", 0 },
	[HW_CHUNK_FASTBIN] = { "glibc", "fastbin", "", HW_STATE_FREE, "fastbin", 0 },
	[HW_CHUNK_UNSORTED] = { "glibc", "unsorted bin", "", HW_STATE_FREE, "unsorted bin", 0 },
	[HW_CHUNK_SMALL] = { "glibc", "small bin", "", HW_STATE_FREE, "small bin", 0 },
	[HW_CHUNK_LARGE] = { "glibc", "large bin", "", HW_STATE_FREE, "large bin", 0 },
	[HW_CHUNK_FREE] = { "glibc", "free chunk on no list", "", HW_STATE_FREE, "free", 0 },
	[HW_CHUNK_TOP] = { "glibc", "top", "", HW_STATE_FREE, "top", 0 },
	[HW_CHUNK_FENCE] = { "glibc", "fence", "", HW_STATE_OVERHEAD, "overhead", 0 },
	[HW_CHUNK_ARENA] = { "glibc", "arena header", "", HW_STATE_OVERHEAD, "overhead", 0 },
	[HW_CHUNK_TCACHE_STRUCT] = { "glibc", "tcache_perthread_struct", "", HW_STATE_OVERHEAD,
				     "overhead", 0 },
	[HW_CHUNK_UNKNOWN] = { "glibc", "damaged region", "", HW_STATE_UNKNOWN, "unknown", 0 },
	[HW_CHUNK_MISSING] = { "glibc", "bytes missing", "", HW_STATE_UNKNOWN, "unknown", 0 },
	[HW_CATEGORY_FREED_BLOCK] = { "pyarena", "freed pool chunk", "", HW_STATE_FREE, "free block", 0 },
	[HW_CATEGORY_VIRGIN_BLOCK] = { "pyarena", "virgin pool chunk", "", HW_STATE_FREE, "virgin", 0 },
	[HW_CATEGORY_POOL_HEADER] = { "pyarena", "pool_header overhead", "", HW_STATE_OVERHEAD,
				      "overhead", 0 },
	[HW_CATEGORY_POOL_FREED] = { "pyarena", "unused pool", "freed", HW_STATE_FREE, "free pool", 0 },
	[HW_CATEGORY_POOL_NEVER_USED] = { "pyarena", "unused pool", "never used", HW_STATE_FREE,
					  "free pool", 0 },
	[HW_CATEGORY_ALIGNMENT_ARENA] = { "pyarena", "alignment wastage", "arena", HW_STATE_OVERHEAD,
					  "overhead", 0 },
	[HW_CATEGORY_ALIGNMENT_POOL] = { "pyarena", "alignment wastage", "pool", HW_STATE_OVERHEAD,
					 "overhead", 0 },
	[HW_CATEGORY_POOL_BAD] = { "pyarena", "damaged pool", "", HW_STATE_UNKNOWN, "unknown", 0 },
	[HW_CATEGORY_MI_HEADER] = { "mimalloc", "segment header", "", HW_STATE_OVERHEAD, "overhead", 0 },
	[HW_CATEGORY_MI_FREE_SLICES] = { "mimalloc", "free slices", "", HW_STATE_FREE, "free page", 0 },
	[HW_CATEGORY_MI_BAD] = { "mimalloc", "damaged page", "", HW_STATE_UNKNOWN, "unknown", 0 },
	[HW_CATEGORY_MI_OFFSET] = { "mimalloc", "page", "offset", HW_STATE_OVERHEAD, "overhead", 0 },
	[HW_CATEGORY_MI_UNCARVED] = { "mimalloc", "page", "never carved", HW_STATE_FREE, "virgin", 0 },
	[HW_CATEGORY_MI_TAIL] = { "mimalloc", "page", "alignment", HW_STATE_OVERHEAD, "overhead", 0 },
	[HW_CATEGORY_MI_FREE_BLOCK] = { "mimalloc", "free block", "", HW_STATE_FREE, "free block", 0 },
	[HW_CATEGORY_MI_LOCAL_FREE_BLOCK] = { "mimalloc", "free block", "local", HW_STATE_FREE,
					      "local free block", 0 },
	[HW_CATEGORY_MI_THREAD_FREE_BLOCK] = { "mimalloc", "free block", "by another thread",
					       HW_STATE_FREE, "thread free block", 0 },
	[HW_CATEGORY_MI_DELAYED_FREE_BLOCK] = { "mimalloc", "free block", "delayed", HW_STATE_FREE,
						"delayed free block", 0 },
	[HW_CATEGORY_MI_ARENA_FREE] = { "mimalloc", "arena", "free", HW_STATE_FREE, "free arena block",
					0 },
	[HW_CATEGORY_MI_ARENA_PADDING] = { "mimalloc", "arena", "alignment", HW_STATE_OVERHEAD,
					   "overhead", 0 },
	[HW_CATEGORY_MI_ARENA_MISSING] = { "mimalloc", "arena", "segment missing", HW_STATE_UNKNOWN,
					   "unknown", 0 },
	[HW_CATEGORY_MI_ARENA_HEADER] = { "mimalloc", "arena header", "", HW_STATE_OVERHEAD, "overhead",
					  0 },
	[HW_CATEGORY_MI_THREAD_DATA] = { "mimalloc", "thread heap", "", HW_STATE_OVERHEAD, "overhead", 0 },
	[HW_CATEGORY_MI_CACHED_THREAD] = { "mimalloc", "thread heap", "cached", HW_STATE_FREE,
					   "cached thread heap", 0 },
	[HW_CATEGORY_MISSING] = { "uncategorized", "bytes missing", "", HW_STATE_UNKNOWN, "unknown", 0 },
	[HW_CATEGORY_MAYBE_FREE] = { "uncategorized", "in use or free", "list missing", HW_STATE_UNKNOWN,
				     "unknown", 0 },
	[HW_CATEGORY_FREE_LIST_MISSING] = { "glibc", "free chunk", "list missing", HW_STATE_FREE, "free",
					    0 },
	[HW_CATEGORY_MMAP_PADDING] = { "glibc", "mmapped", "padding", HW_STATE_OVERHEAD, "overhead", 0 },
	[HW_CATEGORY_UNCATEGORIZED] = { "uncategorized", "", "", HW_STATE_IN_USE, "in use", 0 },
	[HW_CATEGORY_C_STRING] = { "C", "string data", "", HW_STATE_IN_USE, "in use", 0 },
	[HW_CATEGORY_SLOT_FREE] = { "cpython", "free slot", "", HW_STATE_FREE, "free slot", 0 },
	[HW_CATEGORY_SLOT_HEADER] = { "cpython", "_intblock", "", HW_STATE_OVERHEAD, "overhead", 0 },
	[HW_CATEGORY_SLOT_PADDING] = { "cpython", "_intblock", "padding", HW_STATE_OVERHEAD, "overhead",
				       0 },
	[HW_CATEGORY_STACK] = { "stack", "main thread", "", HW_STATE_IN_USE, "in use", 0 },
	[HW_CATEGORY_THREAD_STACK] = { "stack", "thread", "", HW_STATE_IN_USE, "in use", 0 },
	[HW_CATEGORY_CACHED_STACK] = { "stack", "cached", "", HW_STATE_FREE, "cached stack", 0 },
	[HW_CATEGORY_HEAP_TAIL] = { "glibc", "trimmed heap tail", "", HW_STATE_FREE, "heap tail", 0 },
	[HW_CATEGORY_BRK_OTHER] = { "anonymous", "brk area", "not malloc's", HW_STATE_IN_USE, "in use",
				    0 },
	[HW_CATEGORY_TLS] = { "anonymous", "thread-local storage", "", HW_STATE_IN_USE, "in use", 0 },
	[HW_CATEGORY_LOADER] = { "anonymous", "dynamic linker", "", HW_STATE_IN_USE, "in use", 0 },
	[HW_CATEGORY_GETRANDOM] = { "anonymous", "getrandom", "", HW_STATE_IN_USE, "in use", 0 },
	[HW_CATEGORY_CODE] = { "anonymous", "writable code", "", HW_STATE_IN_USE, "in use", 0 },
	[HW_CATEGORY_UNLISTED_ARENA] = { "pyarena", "ended interpreter's", "not walked", HW_STATE_UNKNOWN,
					 "unknown", 0 },
	[HW_CATEGORY_ANONYMOUS] = { "unknown", "anonymous mapping", "", HW_STATE_UNKNOWN, "unknown", 0 },
};
// clang-format on

struct hw_error *hw_categories_init(struct hw_categories *c)
{
	*c = (struct hw_categories){ .lock = PTHREAD_MUTEX_INITIALIZER };
	hw_strtab_init(&c->strings);
	for (uint32_t i = 0; i < HW_CATEGORY_FIXED_COUNT; i++) {
		// Equal content must not take two ids, but each id must exist: they are all different.
		uint32_t id = hw_category_intern(c, &hw_fixed_categories[i], HW_CLAIM_KIND_COUNT);
		if (id != i) {
			hw_categories_deinit(c);
			return &hw_enomem;
		}
	}
	return NULL;
}

void hw_categories_deinit(struct hw_categories *c)
{
	hw_strtab_deinit(&c->strings);
	for (size_t i = 0; i < HW_CATEGORY_SEGMENTS; i++)
		free(c->segments[i]);
	free(c->slots);
	pthread_mutex_destroy(&c->lock);
}

static size_t hw_category_hash(const struct hw_category *category)
{
	// Interned strings: equal text, equal pointer.
	uint64_t h = (uintptr_t)category->domain;
	h = h * 31 + (uintptr_t)category->kind;
	h = h * 31 + (uintptr_t)category->detail;
	h = h * 31 + category->state * 7 + category->type;
	return (size_t)(h * 0x9e3779b97f4a7c15u >> 24);
}

static bool hw_category_equal(const struct hw_category *a, const struct hw_category *b)
{
	return a->domain == b->domain && a->kind == b->kind && a->detail == b->detail &&
	       a->state == b->state && a->state_word == b->state_word && a->type == b->type;
}

// Caller holds the lock.
static bool hw_categories_rehash(struct hw_categories *c)
{
	size_t count = c->slot_count ? c->slot_count * 2 : 1024;
	uint32_t *slots = calloc(count, sizeof(*slots));
	if (!slots)
		return false;
	for (uint32_t id = 0; id < c->count; id++) {
		size_t at = hw_category_hash(&hw_category_entry(c, id)->category) & (count - 1);
		while (slots[at])
			at = (at + 1) & (count - 1);
		slots[at] = id + 1;
	}
	free(c->slots);
	c->slots = slots;
	c->slot_count = count;
	return true;
}

static bool hw_category_string(struct hw_categories *c, const char **text)
{
	uint32_t id = hw_strtab_intern(&c->strings, *text, strlen(*text));
	if (id == UINT32_MAX)
		return false;
	*text = hw_strtab_get(&c->strings, id);
	return true;
}

// Caller holds the lock. The block is in the table all the same; the report says what it lacks.
static uint32_t hw_category_give_up(struct hw_categories *c)
{
	c->is_exhausted = true;
	return HW_CATEGORY_UNCATEGORIZED;
}

static uint32_t hw_category_intern_locked(struct hw_categories *c,
					  const struct hw_category *category,
					  enum hw_claim_kind claim_kind)
{
	struct hw_category key = *category;
	if (!hw_category_string(c, &key.domain) || !hw_category_string(c, &key.kind) ||
	    !hw_category_string(c, &key.detail) || !hw_category_string(c, &key.state_word))
		return hw_category_give_up(c);
	if ((size_t)(c->count + 1) * 2 > c->slot_count && !hw_categories_rehash(c))
		return hw_category_give_up(c);
	size_t at = hw_category_hash(&key) & (c->slot_count - 1);
	for (; c->slots[at]; at = (at + 1) & (c->slot_count - 1))
		if (hw_category_equal(&hw_category_entry(c, c->slots[at] - 1)->category, &key))
			return c->slots[at] - 1;
	uint32_t id = c->count, segment = id / HW_CATEGORY_SEGMENT;
	if (segment >= HW_CATEGORY_SEGMENTS)
		return hw_category_give_up(c);
	if (!c->segments[segment]) {
		c->segments[segment] = calloc(HW_CATEGORY_SEGMENT, sizeof(**c->segments));
		if (!c->segments[segment])
			return hw_category_give_up(c);
	}
	struct hw_category_entry *entry = hw_category_entry(c, id);
	entry->category = key;
	entry->claim_kind = (uint8_t)claim_kind;
	c->slots[at] = id + 1;
	atomic_store(&c->count, id + 1);
	return id;
}

uint32_t hw_category_intern(struct hw_categories *c, const struct hw_category *category,
			    enum hw_claim_kind claim_kind)
{
	pthread_mutex_lock(&c->lock);
	uint32_t id = hw_category_intern_locked(c, category, claim_kind);
	pthread_mutex_unlock(&c->lock);
	return id;
}

const char *hw_categories_intern_text(struct hw_categories *c, const char *text)
{
	pthread_mutex_lock(&c->lock);
	bool ok = hw_category_string(c, &text);
	c->is_exhausted |= !ok;
	pthread_mutex_unlock(&c->lock);
	return ok ? text : "";
}

uint32_t hw_category_of_claim(struct hw_categories *c, enum hw_claim_kind kind, const char *detail)
{
	return hw_category_intern(c,
				  &(struct hw_category){ .domain = hw_claim_words[kind].domain,
							 .kind = hw_claim_words[kind].kind,
							 .detail = detail,
							 .state = HW_STATE_IN_USE,
							 .state_word = "in use" },
				  kind);
}

uint32_t hw_category_companion(struct hw_categories *c, uint32_t owner, enum hw_claim_kind kind)
{
	struct hw_category_entry *entry = hw_category_entry(c, owner);
	uint32_t id = atomic_load_explicit(&entry->companions[kind], memory_order_acquire);
	if (!id) {
		id = hw_category_of_claim(c, kind, entry->category.detail);
		atomic_store_explicit(&entry->companions[kind], id, memory_order_release);
	}
	return id;
}
