/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A process with the memory of a free-threaded CPython that nobody ships: forged in C, with the structures of
// the headers that it is compiled against (Debian's libpython3.14-dev or later, -DPy_GIL_DISABLED=1). The compiler
// places each member; nothing of CPython's is linked or runs. test_forged.py strips it, so that heapwalk has to read
// it with the rows that it has for that version.
//
// Says on stdout, a line a block of mimalloc's: "block ADDRESS SIZE STATE KIND OBJECT", "in use" as "used", then
// "ready", and waits for a line on stdin. The heaps of the one thread state, and an abandoned segment, have:
//   0 (PyMem)        a list's items, a dict's keys
//   1 (no GC)        floats and strings: in use, freed by their thread, freed by another, on the thread's free list
//   2 (GC)           lists, dicts, tuples
//   3 (pre-header)   instances with a managed dict, in the segment of a thread that has ended
#include "Python.h"

#include "pycore_debug_offsets.h"
#include "pycore_dict.h"
#include "pycore_freelist.h"
#include "pycore_gc.h"
#include "pycore_interp.h"
#include "pycore_mimalloc.h"
#include "pycore_obmalloc.h"
#include "pycore_runtime.h"
#include "pycore_tstate.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#define EXPORTED __attribute__((visibility("default"), used))
#define SEGMENT_BYTES ((size_t)32 << 20)
#define SLICE_BYTES ((size_t)64 << 10)
#define SECRET UINT64_C(0x5deece66d1234567)

enum { BLOCKS = 20, IN_USE = 12 };

EXPORTED const unsigned long Py_Version = PY_VERSION_HEX;
EXPORTED _PyRuntimeState _PyRuntime = { .debug_offsets = _Py_DebugOffsets_INIT("xdebugpy") };

EXPORTED const char *Py_GetVersion(void)
{
	return PY_VERSION;
}

#define HEAD(type)                                                                                 \
	{                                                                                          \
		.ob_base = {.ob_ref_local = _Py_IMMORTAL_REFCNT_LOCAL, .ob_type = (type) }         \
	}
#define STATIC_FLAGS (Py_TPFLAGS_READY | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE)

EXPORTED PyTypeObject PyType_Type;
EXPORTED PyTypeObject PyBaseObject_Type = { .ob_base = HEAD(&PyType_Type),
					    .tp_name = "object",
					    .tp_basicsize = sizeof(PyObject),
					    .tp_flags = STATIC_FLAGS };
#define TYPE(variable, name, object, item, flags)                                                  \
	EXPORTED PyTypeObject variable = { .ob_base = HEAD(&PyType_Type),                          \
					   .tp_name = name,                                        \
					   .tp_basicsize = sizeof(object),                         \
					   .tp_itemsize = (item),                                  \
					   .tp_base = &PyBaseObject_Type,                          \
					   .tp_flags = STATIC_FLAGS | (flags) }
TYPE(PyType_Type, "type", PyHeapTypeObject, sizeof(PyMemberDef),
     Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_TYPE_SUBCLASS);
TYPE(PyFloat_Type, "float", PyFloatObject, 0, 0);
TYPE(PyUnicode_Type, "str", PyUnicodeObject, 0, Py_TPFLAGS_UNICODE_SUBCLASS);
TYPE(PyList_Type, "list", PyListObject, 0, Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_LIST_SUBCLASS);
TYPE(PyTuple_Type, "tuple", PyTupleObject, sizeof(PyObject *),
     Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_TUPLE_SUBCLASS);
TYPE(PyDict_Type, "dict", PyDictObject, 0, Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DICT_SUBCLASS);
TYPE(Managed_Type, "forged.Managed", PyObject, 0, Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_MANAGED_DICT);

static _PyThreadStateImpl *thread;

// ---- mimalloc ----

// One page: its blocks are IN_USE blocks, then two a list, in the order of enum state, and what was never carved.
enum state { USED, FREE, LOCAL_FREE, THREAD_FREE, STATES };
static const char *const states[STATES] = { "used", "free", "local", "thread" };

struct page {
	uint8_t *first;
	size_t size;
};

static mi_segment_t *make_segment(uintptr_t thread_id)
{
	uint8_t *memory = mmap(NULL, 2 * SEGMENT_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		exit(2);
	uint8_t *aligned = (uint8_t *)(((uintptr_t)memory + SEGMENT_BYTES - 1) / SEGMENT_BYTES *
				       SEGMENT_BYTES);
	if (aligned > memory)
		munmap(memory, (size_t)(aligned - memory));
	if (memory + SEGMENT_BYTES > aligned)
		munmap(aligned + SEGMENT_BYTES, (size_t)(memory + SEGMENT_BYTES - aligned));
	mi_segment_t *segment = (mi_segment_t *)aligned;
	segment->cookie = (uintptr_t)segment ^ SECRET;
	segment->kind = MI_SEGMENT_NORMAL;
	segment->segment_slices = segment->slice_entries = MI_SLICES_PER_SEGMENT;
	segment->segment_info_slices = (sizeof(*segment) + SLICE_BYTES - 1) / SLICE_BYTES;
	*(uintptr_t *)&segment->thread_id = thread_id;
	segment->slices[0].slice_count = (uint32_t)segment->segment_info_slices;
	return segment;
}

// Where the first block of a page is.
static uint8_t *first_block(mi_segment_t *segment, size_t slice, size_t size)
{
#if MI_MALLOC_VERSION < 20000
	return (uint8_t *)segment + slice * SLICE_BYTES +
	       (size <= 64    ? 3 * size
		: size <= 512 ? size
			      : 0);
#else
	(void)size;
	return (uint8_t *)segment + slice * SLICE_BYTES + 128;
#endif
}

static enum state state_of(int block)
{
	return block < IN_USE ? USED : (enum state)(FREE + (block - IN_USE) / 2 % (STATES - 1));
}

// Links the free ones, whose first word is all that mimalloc writes.
static mi_block_t *link_blocks(const struct page *page, enum state state)
{
	mi_block_t *head = NULL;
	for (int i = IN_USE; i < IN_USE + 2 * (STATES - 1); i++) {
		mi_block_t *block = (mi_block_t *)(page->first + (size_t)i * page->size);
		if (state_of(i) != state)
			continue;
		*(uintptr_t *)block = (uintptr_t)head;
		head = block;
	}
	return head;
}

// The next free slice of the segment becomes a page of that heap, NULL: an abandoned one.
static struct page make_page(mi_segment_t *segment, mi_heap_t *heap, unsigned tag, size_t size)
{
	size_t slice = segment->segment_info_slices + segment->used++;
	mi_page_t *header = &segment->slices[slice];
	struct page page = { first_block(segment, slice, size), size };
	header->slice_count = 1;
	header->is_committed = 1;
	header->capacity = IN_USE + 2 * (STATES - 1);
	header->reserved = BLOCKS;
	header->used = IN_USE + 2; // with what another thread has freed
	*(uintptr_t *)&header->xheap = (uintptr_t)heap;
#if MI_MALLOC_VERSION < 20000
	header->tag = tag & 15;
	header->xblock_size = (uint32_t)size;
#else
	header->heap_tag = (uint8_t)tag;
	header->block_size = size;
	header->page_start = page.first;
#endif
	if (heap)
		heap->page_count++;
	return page;
}

static void link_page(mi_segment_t *segment, const struct page *page)
{
	mi_page_t *header =
		&segment->slices[(size_t)(page->first - (uint8_t *)segment) / SLICE_BYTES];
	header->free = link_blocks(page, FREE);
	header->local_free = link_blocks(page, LOCAL_FREE);
	*(uintptr_t *)&header->xthread_free = (uintptr_t)link_blocks(page, THREAD_FREE);
}

// The rest of a segment is one free run.
static void finish_segment(mi_segment_t *segment)
{
	size_t slice = segment->segment_info_slices + segment->used;
	segment->slices[slice].slice_count = (uint32_t)(MI_SLICES_PER_SEGMENT - slice);
}

// ---- objects ----

static void *block_at(const struct page *page, int i)
{
	return page->first + (size_t)i * page->size;
}

static PyObject *make_object(const struct page *page, int i, size_t before, PyTypeObject *type)
{
	PyObject *object = (PyObject *)((uint8_t *)block_at(page, i) + before);
	object->ob_tid = (uintptr_t)thread->base.thread_id;
	object->ob_ref_local = 1;
	object->ob_gc_bits = type->tp_flags & Py_TPFLAGS_HAVE_GC ? _PyGC_BITS_TRACKED : 0;
	object->ob_type = type;
	return object;
}

static void say(const void *block, size_t size, const char *state, const char *kind,
		const void *object)
{
	printf("block %#" PRIxPTR " %zu %s %s %#" PRIxPTR "\n", (uintptr_t)block, size, state, kind,
	       (uintptr_t)object);
}

// Fills a page with objects of one type, living and dead: a dead one keeps all but its first word.
static void make_objects(mi_segment_t *segment, const struct page *page, size_t before,
			 PyTypeObject *type, void (*fill)(PyObject *, int))
{
	for (int i = 0; i < IN_USE + 2 * (STATES - 1); i++) {
		PyObject *object = make_object(page, i, before, type);
		bool is_dead = state_of(i) != USED;
		if (fill)
			fill(object, i);
		say(block_at(page, i), page->size, states[state_of(i)],
		    is_dead ? "-" : type->tp_name, is_dead ? NULL : (void *)object);
	}
	link_page(segment, page);
}

static struct page items_page, keys_page, string_page, dict_page;

static void fill_float(PyObject *object, int i)
{
	((PyFloatObject *)object)->ob_fval = i + 0.5;
}

static void fill_string(PyObject *object, int i)
{
	PyASCIIObject *text = (PyASCIIObject *)object;
	text->length = snprintf((char *)(text + 1), 16, "forged_%d", i);
	text->hash = -1;
	text->state.kind = PyUnicode_1BYTE_KIND;
	text->state.compact = text->state.ascii = 1;
}

static PyObject *string_at(int i)
{
	return (PyObject *)block_at(&string_page, i % IN_USE);
}

// The items of a free-threaded list have their capacity before them, in the same block.
static void fill_list(PyObject *object, int i)
{
	PyListObject *list = (PyListObject *)object;
	uintptr_t *array = block_at(&items_page, i);
	array[0] = 4;
	for (int k = 0; k < 3; k++)
		array[1 + k] = (uintptr_t)string_at(i + k);
	list->ob_base.ob_size = 3;
	list->allocated = 4;
	list->ob_item = (PyObject **)(array + 1);
}

static void fill_tuple(PyObject *object, int i)
{
	PyTupleObject *tuple = (PyTupleObject *)object;
	tuple->ob_base.ob_size = 2;
	tuple->ob_hash = -1;
	tuple->ob_item[0] = string_at(i);
	tuple->ob_item[1] = string_at(i + 1);
}

// Room for eight, indices of a byte, keys that are all strings.
static void fill_dict(PyObject *object, int i)
{
	PyDictObject *dict = (PyDictObject *)object;
	PyDictKeysObject *keys = block_at(&keys_page, i);
	int8_t *indices = (int8_t *)keys->dk_indices;
	keys->dk_refcnt = 1;
	keys->dk_log2_size = keys->dk_log2_index_bytes = 3;
	keys->dk_kind = DICT_KEYS_UNICODE;
	keys->dk_usable = 3;
	keys->dk_nentries = 2;
	PyDictUnicodeEntry *entries = (PyDictUnicodeEntry *)(indices + 8);
	memset(indices, DKIX_EMPTY, 8);
	for (int k = 0; k < 2; k++) {
		indices[2 * k] = (int8_t)k;
		entries[k].me_key = string_at(i + k);
		entries[k].me_value = string_at(i + k + 1);
	}
	dict->ma_used = 2;
	dict->ma_keys = keys;
}

// What the managed pointer points at stands before the object, in its block.
static void fill_managed(PyObject *object, int i)
{
	((PyObject **)object)[-1] = i % 2 ? block_at(&dict_page, i % IN_USE) : NULL;
}

// Blocks that an object has beside itself live and die with it.
static void say_buffers(mi_segment_t *segment, const struct page *page, const char *kind)
{
	for (int i = 0; i < IN_USE + 2 * (STATES - 1); i++)
		say(block_at(page, i), page->size, states[state_of(i)],
		    state_of(i) == USED ? kind : "-", NULL);
	link_page(segment, page);
}

// The last two floats in use are dead: their thread keeps them for the next ones.
static void keep_floats(const struct page *page)
{
	struct _Py_freelist *list = &thread->freelists.floats;
	for (int i = IN_USE - 2; i < IN_USE; i++) {
		PyObject *object = block_at(page, i);
		object->ob_ref_local = 0;
		*(void **)object = list->freelist;
		list->freelist = object;
		list->size++;
		printf("kept %#" PRIxPTR "\n", (uintptr_t)object);
	}
}

static void make_heaps(void)
{
	mi_heap_t *heaps = thread->mimalloc.heaps;
	uintptr_t self = (uintptr_t)thread->base.thread_id;
	for (unsigned tag = 0; tag < _Py_MIMALLOC_HEAP_COUNT; tag++) {
		heaps[tag].thread_id = self;
		heaps[tag].tag = (uint8_t)tag;
		heaps[tag].cookie = SECRET;
		heaps[tag].tld = &thread->mimalloc.tld;
	}
	mi_segment_t *own = make_segment(self), *abandoned = make_segment(0);
	items_page = make_page(own, &heaps[0], 0, 48);
	keys_page = make_page(own, &heaps[0], 0, 128);
	struct page float_page = make_page(own, &heaps[1], 1, 48);
	string_page = make_page(own, &heaps[1], 1, 80);
	struct page list_page = make_page(own, &heaps[2], 2, 64);
	struct page tuple_page = make_page(own, &heaps[2], 2, 80);
	dict_page = make_page(own, &heaps[2], 2, 64);
	struct page managed_page = make_page(abandoned, NULL, 3, 64);

	make_objects(own, &float_page, 0, &PyFloat_Type, fill_float);
	keep_floats(&float_page);
	make_objects(own, &string_page, 0, &PyUnicode_Type, fill_string);
	make_objects(own, &list_page, 0, &PyList_Type, fill_list);
	make_objects(own, &tuple_page, 0, &PyTuple_Type, fill_tuple);
	make_objects(own, &dict_page, 0, &PyDict_Type, fill_dict);
	make_objects(abandoned, &managed_page, 2 * sizeof(PyObject *), &Managed_Type, fill_managed);
	say_buffers(own, &items_page, "ob_item");
	say_buffers(own, &keys_page, "keys");
	finish_segment(own);
	finish_segment(abandoned);
	abandoned->abandoned = abandoned->used;
}

// ---- the interpreter ----

// pymalloc is there and unused: each size class is an empty list.
static struct _obmalloc_state obmalloc_state_main;

static void make_pymalloc(PyInterpreterState *interp)
{
	poolp *used = obmalloc_state_main.pools.used;
	size_t count = sizeof(obmalloc_state_main.pools.used) / sizeof(*used);
	for (size_t i = 0; i < count; i += 2)
		used[i] = used[i + 1] =
			(poolp)((uint8_t *)&used[i] - offsetof(struct pool_header, nextpool));
	interp->obmalloc = &obmalloc_state_main;
}

static void make_interpreter(void)
{
	PyInterpreterState *interp = &_PyRuntime._main_interpreter;
	_PyRuntime.interpreters.head = _PyRuntime.interpreters.main = interp;
	thread = &interp->_initial_thread;
	interp->threads.head = interp->threads.main = &thread->base;
	thread->base.interp = interp;
	thread->base.thread_id = (unsigned long)_Py_ThreadId();
	make_pymalloc(interp);
}

// What makes a file CPython's for heapwalk.
EXPORTED void *PyObject_Malloc(size_t size)
{
	(void)size;
	return NULL;
}

int main(void)
{
	make_interpreter();
	make_heaps();
	_PyRuntime._main_interpreter.imports.modules = (PyObject *)block_at(&dict_page, 0);
	puts("ready");
	fflush(stdout);
	return getchar() == 0;
}
