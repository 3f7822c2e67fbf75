/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The table's own parts, shared by the files of this folder.
#ifndef HW_HEAP_HEAP_INTERNAL_H
#define HW_HEAP_HEAP_INTERNAL_H

#include "heap/category.h"
#include "heap/pools.h"
#include "native/classifier.h"

// A stretch of a private writable mapping that one thing explains. Sorted, disjoint, and together they
// are the mappings.
enum hw_stretch_kind {
	HW_STRETCH_ARENA,
	HW_STRETCH_REGION,
	HW_STRETCH_SEGMENT, // of mimalloc, or the part of one that is in a mapping
	HW_STRETCH_AREA,    // of mimalloc, outside of segments
	HW_STRETCH_PLAIN
};

struct hw_stretch {
	hw_addr_t start, end;
	enum hw_stretch_kind kind;
	uint32_t index; // arena, region, segment, or the category of an area or a plain span
};

typedef HW_VEC(struct hw_stretch) hw_stretch_vec;

// A chunk of malloc, or a part of one, that its owner cuts into slots. 2.7: int or float objects side by
// side (struct _intblock, Objects/intobject.c; struct _floatblock, Objects/floatobject.c). Others:
// struct hw_native_slab. The last slot may end in the next chunk's prev_size.
struct hw_slot_block {
	hw_addr_t chunk, chunk_end, first; // first: of slot 0
	uint32_t slot_bytes, count;
	uint32_t slots;           // into hw_heap.slot_categories
	uint32_t header, padding; // categories of what is before and behind the slots
	bool is_native;           // slots take claims
	bool is_continued;        // the next one is of the same chunk
};

// A piece of a thread's data stack that is a mapping of its own (3.11+, _PyArena mmap).
struct hw_stack_chunk {
	hw_addr_t start, end;
};

// A classifier whose library is in the process.
struct hw_open_classifier {
	const struct hw_classifier *classifier;
	void *state;
	struct hw_beginnings beginnings; // for hw_heap_look()
};

// statics.c: where the interpreter keeps what no structure of its leads to; 0: not found, or not needed.
struct hw_statics {
	hw_addr_t interned;                              // the dict
	hw_addr_t arena_map_root;                        // the array
	hw_addr_t free_floats, int_blocks, float_blocks; // variables that hold the list's first
	HW_VEC(hw_addr_t) free_keys;                     // the keys
};

struct hw_heap {
	struct hw_heap_inputs in;
	struct hw_categories categories;
	struct hw_types types;
	struct hw_object_prover prover;
	struct hw_object_prover
		page_provers[HW_MI_TAG_COUNT];         // where a page's tag says what is in it
	struct hw_statics statics;                     // of a binary without symbols
	HW_VEC(struct hw_open_classifier) classifiers; // in the order in which they are asked
	struct hw_worker_native *lookers;              // of hw_heap_look(), one a thread; owned
	bool has_python;

	struct hw_pool_slots *pool_slots; // category ids of all pools' blocks
	uint32_t *page_slots;             // category ids of the blocks of all mimalloc pages
	size_t page_slots_bytes;
	uint64_t *page_first_slot;                 // by page
	HW_VEC(struct hw_slot_block) slot_blocks;  // sorted by chunk
	HW_VEC(struct hw_slot_block) split_blocks; // those that classifiers made, as they came
	HW_VEC(uint32_t) slot_categories;
	HW_VEC(struct hw_stack_chunk) stack_chunks; // of the interpreter's data stacks, mmapped
	hw_stretch_vec spans;
	HW_VEC(struct hw_census_row) census;
	struct hw_ledger ledger;
	struct hw_absences absences;
	_Atomic uint64_t conflict_count;
	bool is_partial;
};

// Of the target: 8, or 4.
static inline unsigned hw_heap_word_bytes(const struct hw_heap *heap)
{
	return heap->in.target->machine->word_bytes;
}

// 3.12+: immortal objects have the low half's top bit, or all of it; in 32-bit builds about 2^30 or more, and
// no memory has room for as many references.
static inline bool hw_heap_is_immortal(const struct hw_heap *heap, uint64_t refcount)
{
	const struct hw_python_layout *l = &heap->in.python->layout;
	if (l->long_lv_tag == HW_ABSENT)
		return false;
	return l->word_bytes == 8 ? refcount >> 31 & 1 : refcount >= 0x3f000000;
}

// A block found by an address in it.
struct hw_slot {
	uint32_t *category;         // NULL: none
	hw_addr_t start, user;      // of the block, of what the application has
	uint64_t bytes;             // of the block
	uint32_t region;            // of a chunk of malloc: which; else UINT32_MAX
	const struct hw_pool *pool; // of a block of pymalloc; else NULL
};

// The block of an allocator whose user data contains addr.
struct hw_slot hw_heap_slot_at(const struct hw_heap *heap, hw_addr_t addr);
// The block that a claim is about; category NULL: there is none, or the pointer leads too far into it.
struct hw_slot hw_heap_claimed_slot(const struct hw_heap *heap, const struct hw_claim *claim);
// Slots of 2.7's int and float blocks, or NULL.
struct hw_slot_block *hw_heap_slot_block_at(const struct hw_heap *heap, hw_addr_t addr);
void hw_heap_sort_slot_blocks(struct hw_heap *heap);

struct hw_pending_dict {
	hw_addr_t dict;
	uint32_t category;
};

// A classifier said what a block is: settled when all blocks were looked at.
struct hw_native_claim {
	hw_addr_t start; // of what the application has
	uint32_t category;
	// 1 + index in hw_heap.classifiers: holds if that one is in use. 0: holds.
	uint32_t suspected_by;
};

struct hw_known_kind {
	struct hw_native_kind kind;
	uint32_t category;
};

enum { HW_NATIVE_KNOWN_KINDS = 64 };

// One thread's side of the classifiers.
struct hw_worker_native {
	struct hw_native_sink sink; // first: the sink is the worker's
	struct hw_heap *heap;
	uint32_t current; // 1 + index of the classifier that is asked
	HW_VEC(struct hw_native_claim) claims;
	struct hw_known_kind known[HW_NATIVE_KNOWN_KINDS]; // by hash of the pointers
};

// One thread of the census.
struct hw_worker {
	struct hw_claim_sink sink; // first: the sink is the worker
	struct hw_heap *heap;
	struct hw_window window;
	struct hw_pages pages;
	struct hw_type_cache cache;
	uint32_t owner_category;                // of the object whose claims are being made
	HW_VEC(struct hw_pending_dict) pending; // dicts that got a detail after they were visited
	struct hw_worker_native native;
	const struct hw_object_prover *prover; // for the blocks under way
	uint8_t *page_blocks; // enum hw_mi_block of a mimalloc page's; NULL: the process has none
};

struct hw_error *hw_worker_init(struct hw_worker *worker, struct hw_heap *heap) HW_MUST_USE;
void hw_worker_deinit(struct hw_worker *worker);

// claim.c: hw_claim_sink.claim of a worker.
void hw_worker_claim(struct hw_claim_sink *sink, const struct hw_claim *claim);
// The same for a buffer that an object of category `owner` points at.
void hw_worker_claim_buffer(struct hw_worker *worker, hw_addr_t address, uint32_t owner,
			    enum hw_claim_kind kind);
// Category of an object of that type.
uint32_t hw_heap_make_object_category(struct hw_heap *heap, const struct hw_type *type,
				      enum hw_type_category which);
static inline uint32_t hw_heap_object_category(struct hw_heap *heap, const struct hw_type *type,
					       enum hw_type_category which)
{
	uint32_t id = atomic_load_explicit(&type->categories[which], memory_order_acquire);
	return id ? id : hw_heap_make_object_category(heap, type, which);
}

// What proves objects in the blocks of a mimalloc page.
static inline const struct hw_object_prover *hw_heap_page_prover(const struct hw_heap *heap,
								 const struct hw_mi_page *page)
{
	return page->tag < HW_MI_TAG_COUNT ? &heap->page_provers[page->tag] : &heap->prover;
}

// scan.c: look at every block once, on several threads.
struct hw_error *hw_heap_scan(struct hw_heap *heap) HW_MUST_USE;
// Claims of dicts that got their detail late.
void hw_worker_settle(struct hw_worker *worker);

// statics.c
void hw_statics_find(struct hw_worker *worker, struct hw_statics *ret);
void hw_statics_deinit(struct hw_statics *statics);

// roots.c: what the interpreter's own structures point at.
void hw_root_claim(struct hw_worker *worker, hw_addr_t addr, enum hw_claim_kind kind,
		   const char *detail);
// `owner`: the interpreter, or where each thread state has free lists of its own that.
void hw_heap_claim_free_lists(struct hw_worker *worker, hw_addr_t owner);
// thread_roots.c
void hw_heap_claim_threads(struct hw_worker *worker, hw_addr_t interpreter);
void hw_heap_claim_roots(struct hw_heap *heap, struct hw_worker *worker);
void hw_heap_claim_static_types(struct hw_heap *heap, struct hw_worker *worker);
// The claims of one type, unless it is a block: that one makes its own.
void hw_heap_claim_static_type(struct hw_worker *worker, hw_addr_t type);
struct hw_error *hw_heap_find_slot_blocks(struct hw_heap *heap,
					  struct hw_worker *worker) HW_MUST_USE;

// native.c
struct hw_error *hw_heap_open_classifiers(struct hw_heap *heap) HW_MUST_USE;
void hw_heap_close_classifiers(struct hw_heap *heap);
// `pages` is borrowed; `links`: how many links of lists in the target a thread may follow.
void hw_worker_native_init(struct hw_worker_native *native, struct hw_heap *heap,
			   struct hw_pages *pages, uint64_t links);
// Category of a block of no interpreter's: what its bytes show.
uint32_t hw_worker_classify(struct hw_worker *worker, hw_addr_t user, const uint8_t *bytes,
			    size_t len, uint64_t capacity);
void hw_heap_claim_native_roots(struct hw_heap *heap, struct hw_worker *worker);
// Everything that waited for the last block: slabs, then claims of all threads. False: out of memory.
bool hw_heap_settle_native(struct hw_heap *heap, struct hw_worker *workers, unsigned count);
// native_slots.c: struct hw_native_sink.split
bool hw_native_split(struct hw_native_sink *sink, const struct hw_native_slab *slab);
// What the slots that no claim will name show. False: out of memory.
bool hw_heap_classify_slots(struct hw_heap *heap, struct hw_worker *worker);
// A block that nobody has named, or only a classifier: its slot's value.
bool hw_native_may_name(const struct hw_heap *heap, uint32_t slot);
uint32_t hw_native_category(struct hw_worker_native *native, const struct hw_native_kind *kind);

// Is what this category says the allocator's word, not to be overruled by an owner's?
static inline bool hw_category_is_fixed_not_in_use(uint32_t id)
{
	return id && id < HW_CATEGORY_FIXED_COUNT && id != HW_CATEGORY_UNCATEGORIZED &&
	       id != HW_CATEGORY_C_STRING;
}

// plain.c: what nobody claims, by its mapping and by what points into it
struct hw_plain {
	struct hw_pages pages;
	HW_VEC(hw_addr_t) loader; // sorted: what ld.so's list of loaded files points at
	HW_VEC(hw_addr_t) random; // sorted: getrandom.c's pages, once they are sought
	bool is_random_sought;
	uint32_t anonymous;       // category of what nothing explains
	hw_addr_t first_unlisted; // an arena that no interpreter lists
	uint64_t unlisted_bytes;  // of all of them
};
enum { HW_PTHREAD_BYTES = 2304 }; // of struct pthread, most versions' whole
bool hw_plain_init(struct hw_plain *plain, struct hw_heap *heap); // false: out of memory
void hw_plain_deinit(struct hw_plain *plain);
// When all was added: what there is to say of it as a whole.
void hw_plain_report(const struct hw_plain *plain, struct hw_issues *issues);
// getrandom.c: is [start, end) what libc's getrandom() mapped for itself?
bool hw_plain_is_getrandom(struct hw_plain *plain, struct hw_heap *heap, hw_addr_t start,
			   hw_addr_t end);
// Tails of thread heaps, for the list of claims. False: out of memory.
bool hw_heap_add_tails(struct hw_heap *heap, hw_stretch_vec *claims);
// Add [start, end) of mapping `m`; `data` is the file mapping that ends where m starts, NULL when there
// is none. False: out of memory.
bool hw_heap_add_plain(struct hw_heap *heap, struct hw_plain *plain, const struct hw_mapping *m,
		       const struct hw_mapping *data, hw_addr_t start, hw_addr_t end);

// spans.c
// gaps.c: after all claims, what can't be told for want of malloc's lists.
void hw_heap_mark_gaps(struct hw_heap *heap);
struct hw_error *hw_heap_build_spans(struct hw_heap *heap) HW_MUST_USE;
static inline bool hw_mapping_is_file(const struct hw_mapping *m)
{
	return m->path[0] == '/';
}

// rows.c: the rows of one span, whole, whatever a visitor asks for.
struct hw_row_visit {
	const struct hw_heap *heap;
	hw_addr_t from, to; // rows that overlap this
	bool (*visit)(void *payload, const struct hw_row *row);
	void *payload;
};
bool hw_heap_emit_row(struct hw_row_visit *v, hw_addr_t start, hw_addr_t end,
		      enum hw_allocator allocator, uint32_t slot);
// segments.c: mimalloc's part of the table.
struct hw_error *hw_heap_reserve_segments(struct hw_heap *heap) HW_MUST_USE;
// Segments and areas, as far as they are in private writable mappings. False: out of memory.
bool hw_heap_add_segments(struct hw_heap *heap, hw_stretch_vec *spans);
bool hw_heap_emit_segment(struct hw_row_visit *v, const struct hw_stretch *span);
struct hw_slot hw_heap_segment_slot(const struct hw_heap *heap, hw_addr_t addr);
void hw_worker_segment(struct hw_worker *worker, const struct hw_mi_segment *segment);
// scan.c: one block in use.
void hw_worker_block(struct hw_worker *worker, hw_addr_t user, const uint8_t *bytes, size_t len,
		     uint64_t capacity, uint32_t *slot);
// Unless an owner has said what it is.
static inline void hw_slot_set(uint32_t *slot, uint32_t id)
{
	uint32_t none = 0;
	__atomic_compare_exchange_n(slot, &none, id, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}
enum { HW_BLOCK_LOOK_BYTES = HW_CHUNK_LOOK_BYTES }; // of a large block

// Where what the application has of a chunk in use begins, and how many bytes that are: they run on over the next
// chunk's prev_size, but for an mmapped one's. 0: none.
static inline uint64_t hw_chunk_data(const struct hw_heap *heap, const struct hw_region *region,
				     uint32_t i, hw_addr_t *ret_user)
{
	const uint32_t header_bytes = heap->in.glibc->header_bytes;
	const bool is_mmapped = region->kind == HW_REGION_MMAPPED;
	const hw_addr_t end = hw_region_chunk_end(region, i) + (is_mmapped ? 0 : header_bytes / 2);
	*ret_user = (is_mmapped ? region->mmapped_chunk : hw_region_chunk_start(region, i)) +
		    header_bytes;
	return *ret_user < end ? end - *ret_user : 0;
}

// blocks.c: the heap in pieces of work: arenas [from, to), segments [from, to), or chunks [from, to) of a
// region. Blocks of a piece that comes first have lower slots.
struct hw_item {
	enum hw_stretch_kind kind;
	uint32_t region, from, to;
};
typedef HW_VEC(struct hw_item) hw_items;
bool hw_heap_add_items(const struct hw_heap *heap, hw_items *items); // false: out of memory
uint64_t hw_item_bytes(const struct hw_heap *heap, const struct hw_item *item);

// A block and what of it is at hand, borrowed until the next one: at most HW_BLOCK_LOOK_BYTES of a large one.
struct hw_seen_block {
	hw_addr_t user; // what the application has: from here, so many bytes
	const uint8_t *bytes;
	size_t len;
	uint64_t capacity;
	const uint32_t *slot;
	const struct hw_object_prover *prover; // of objects where it is
};
struct hw_block_visitor {
	const struct hw_heap *heap;
	struct hw_window *window;
	bool (*wants)(const struct hw_heap *heap, uint32_t slot);        // by its slot's value
	bool (*visit)(void *payload, const struct hw_seen_block *block); // false: stop
	void *payload;
};
// Blocks that can't be read are left out. False: `visit` stopped it.
bool hw_heap_visit_item(const struct hw_block_visitor *v, const struct hw_item *item);

// count.c
struct hw_error *hw_heap_count(struct hw_heap *heap) HW_MUST_USE;

// Acquires what the worker that made the category wrote of it.
static inline uint32_t hw_slot_load(const uint32_t *slot)
{
	return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
}

// Is it known for sure what is there? Else nothing is known, or what an owner says.
static inline bool hw_slot_is_settled(uint32_t slot)
{
	_Static_assert(HW_CATEGORY_NONE == 0, "one comparison tells");
	return slot - 1 < HW_SLOT_CLAIMED - 1;
}

#endif
