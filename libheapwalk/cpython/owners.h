/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Who owns a buffer: an object of a known type points at it. Rules are rows of data: {type, where the
// pointer is, what it points at}. A type has the rules of its bases.
//
// To add a rule: a row in hw_owner_rules (owners.c) and, when its offset is a new fact, a row in
// layout/fields_object.def; a new kind of buffer: a row in HW_CLAIM_KINDS. A type that needs code
// (linked blocks) gets a function in owners.c.
#ifndef HW_CPYTHON_OWNERS_H
#define HW_CPYTHON_OWNERS_H

#include "cpython/objects.h"

// X(NAME, domain, kind): what a claimed block is. Of two claims on one block the earlier row wins.
#define HW_CLAIM_KINDS(X)                                                                          \
	X(OBJECT, "python", "") /* an object: its kind is its type's name */                       \
	X(DICT_KEYS, "cpython", "PyDictKeysObject")                                                \
	X(DICT_VALUES, "cpython", "dict values")                                                   \
	X(DICT_TABLE, "cpython", "PyDictEntry table")                                              \
	X(LIST_ITEMS, "cpython", "PyListObject ob_item table")                                     \
	X(SET_TABLE, "cpython", "PySetObject setentry table")                                      \
	X(STR_BUFFER, "cpython", "PyUnicodeObject buffer")                                         \
	X(STR_UTF8, "cpython", "str utf8 cache")                                                   \
	X(STR_WSTR, "cpython", "str wstr cache")                                                   \
	X(BYTEARRAY_BUFFER, "cpython", "bytearray buffer")                                         \
	X(ARRAY_BUFFER, "cpython", "array buffer")                                                 \
	X(DEQUE_BLOCK, "cpython", "deque block")                                                   \
	X(ODICT_FAST_NODES, "cpython", "OrderedDict fast nodes")                                   \
	X(ODICT_NODE, "cpython", "OrderedDict node")                                               \
	X(IO_BUFFER, "cpython", "io buffer")                                                       \
	X(LOCK, "cpython", "lock")                                                                 \
	X(TYPE_DOC, "cpython", "type doc")                                                         \
	X(TYPE_NAME, "cpython", "type name")                                                       \
	X(MODULE_STATE, "cpython", "module state")                                                 \
	X(CODE_EXTRA, "cpython", "code extra")                                                     \
	X(CODE_CELL2ARG, "cpython", "code cell2arg")                                               \
	X(CODE_OPCACHE, "cpython", "code opcache")                                                 \
	X(CODE_CACHED, "cpython", "code cached objects")                                           \
	X(CODE_MONITORING, "cpython", "code monitoring")                                           \
	X(CODE_EXECUTORS, "cpython", "code executors")                                             \
	X(CODE_COPIES, "cpython", "code thread copies")                                            \
	X(CODE_COPY, "cpython", "code thread copy")                                                \
	X(CTYPES_BUFFER, "cpython", "ctypes buffer")                                               \
	X(NDARRAY_DATA, "cpython", "numpy.ndarray data")                                           \
	X(NDARRAY_DIMS, "cpython", "numpy.ndarray dimensions")                                     \
	X(STRUCT_CODES, "cpython", "struct format codes")                                          \
	X(AST_ARENA, "cpython", "PyArena block")                                                   \
	X(FREE_KEYS, "cpython", "free-listed PyDictKeysObject")                                    \
	X(THREAD_COUNTS, "cpython", "thread reference counts")                                     \
	X(UNIQUE_IDS, "cpython", "_Py_unique_id_entry table")                                      \
	X(QSBR, "cpython", "_qsbr_pad array")                                                      \
	X(DELAYED_FREE, "cpython", "freed when no thread reads it")                                \
	X(FREE_QUEUE, "cpython", "_mem_work_chunk")                                                \
	X(HASHTABLE, "cpython", "_Py_hashtable_t")                                                 \
	X(HASHTABLE_BUCKETS, "cpython", "_Py_hashtable_t buckets")                                 \
	X(HASHTABLE_ENTRY, "cpython", "_Py_hashtable_t entry")                                     \
	X(ARENA_OBJECTS, "cpython", "arena_object table")                                          \
	X(ARENA_MAP, "cpython", "arena map node")                                                  \
	X(OBMALLOC_STATE, "cpython", "obmalloc state")                                             \
	X(INTERPRETER, "cpython", "PyInterpreterState")                                            \
	X(THREAD, "cpython", "PyThreadState")                                                      \
	X(STACK_CHUNK, "cpython", "data stack chunk")                                              \
	X(USER, "", "") /* a user's rule says what it is */                                        \
	X(FREE_LIST, "cpython", "free-listed object")

enum hw_claim_kind {
#define HW_X(name, domain, kind) HW_CLAIM_##name,
	HW_CLAIM_KINDS(HW_X)
#undef HW_X
		HW_CLAIM_KIND_COUNT
};

// What the claim's detail says.
enum hw_claim_detail {
	HW_DETAIL_OWNERS,        // that of the owner's own row, if it has one
	HW_DETAIL_INSTANCE_DICT, // "TYPE.__dict__"
	HW_DETAIL_TEXT,
};

struct hw_claim {
	hw_addr_t address; // what the owner points at
	enum hw_claim_kind kind;
	enum hw_claim_detail detail;
	const struct hw_type *type; // of HW_DETAIL_INSTANCE_DICT
	const char *text;           // of HW_DETAIL_TEXT; copied
	const char *kind_text; // the object's kind when it isn't its type's name, or NULL; copied
	const char *field;     // the owner's member that points there, "ob_item"; borrowed
	bool is_interior;      // the pointer leads into the block, not to its start
	const struct hw_rule *rule; // of HW_CLAIM_USER: the words
	uint64_t bytes_min;         // of HW_CLAIM_USER: a block with less room is another's
};

struct hw_claim_sink {
	void (*claim)(struct hw_claim_sink *sink, const struct hw_claim *claim);
	struct hw_type_cache *cache; // with its pages: for what the owner's own bytes don't say
	hw_addr_t block, block_end;  // of the owner: pointers that lead here are no buffer
	uint64_t links_left; // of all linked lists together: a heap has no more links than blocks
};

// A list in the target, followed link by link.
struct hw_links {
	hw_addr_t mark; // passed a while ago: who comes there again walks in a ring (Brent)
	uint64_t count, mark_at;
};

// Is there an element at `at`, and may it be visited? False at the end, in a ring, and when the sink's
// links are used up: many lists may share one long tail.
static inline bool hw_links_enter(struct hw_links *links, struct hw_claim_sink *sink, hw_addr_t at)
{
	if (!at || at == links->mark || !sink->links_left)
		return false;
	sink->links_left--;
	if (links->count++ == links->mark_at) {
		links->mark = at;
		links->mark_at = 2 * links->count;
	}
	return true;
}

// Give a type the rules of itself and its bases. Called once, before the type is seen by others. `rules`
// are a user's, or NULL; one that can't be right is an issue.
void hw_owners_bind(struct hw_type *type, const struct hw_python_layout *layout,
		    struct hw_rules *rules, struct hw_issues *issues);

// False: the object at `object` owns nothing, known without a look at its rules. Most strings: compact,
// ASCII, no wide copy.
static inline bool hw_owners_may_claim(const struct hw_python_layout *layout,
				       const struct hw_type *type, const uint8_t *object,
				       size_t len)
{
	if (type->dictoffset || type->flags & HW_TPFLAGS_MANAGED_DICT)
		return true;
	if (type->shape != HW_SHAPE_STR || layout->str_state == HW_ABSENT ||
	    len < (size_t)layout->str_ascii_size ||
	    (hw_str_state(layout, hw_u32(object + layout->str_state)) >> 5 & 3) != 3)
		return type->rule_count;
	return layout->str_wstr != HW_ABSENT &&
	       hw_word(object + layout->str_wstr, layout->word_bytes);
}

// Every claim of the object whose block's bytes [block, block + len) are at hand.
void hw_owners_visit(const struct hw_python_layout *layout, const struct hw_object *object,
		     hw_addr_t block_addr, const uint8_t *block, size_t len,
		     struct hw_claim_sink *sink);

// The claims of a dict's own table(s): for a dict that got its detail after it was visited.
void hw_owners_visit_dict(const struct hw_python_layout *layout, hw_addr_t dict,
			  const uint8_t *bytes, size_t len, struct hw_claim_sink *sink);

// Is this a block of the arena that the compiler keeps a syntax tree in? It says so itself: its ab_mem
// points behind its own header. The main script's lives as long as the script runs.
// Upstream: Python/pyarena.c, struct _block {ab_size, ab_offset, ab_next, ab_mem}, 2.7 – 3.15.
bool hw_is_ast_arena_block(hw_addr_t user, const uint8_t *bytes, size_t len, uint64_t capacity,
			   unsigned word_bytes);

#endif
