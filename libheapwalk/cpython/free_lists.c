/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The counters are statics, all called `numfree`, up to 3.9; members of the interpreter since 3.10
// (bpo-40521), each of a type of its own up to 3.13, all alike since 3.14. A list that a version does not
// have has no counter: its line is not there either.
#include "cpython/free_lists.h"

#include <inttypes.h>

#include "base/bytes.h"

enum {
	HW_TUPLE_LISTS = 20, // PyTuple_MAXSAVESIZE, of the static array: 2.7 - 3.9
	HW_TUPLE_LISTS_MAX = 64,
	HW_FREE_LIST_BYTES_MAX = 64, // of struct _Py_freelist, 16
};

#define HW_FACT(name) offsetof(struct hw_python_layout, name)
#define HW_NO_FACT SIZE_MAX

// A line of the report, in its order.
static const struct hw_free_list_rule {
	const char *type;
	const char *unit; // that had a static `numfree`; NULL: never
	size_t member;    // fact: its offset in PyInterpreterState
	size_t size;      // fact: sizeof the type; of tuples without items
	bool is_gc;
	bool is_array; // a list a length: tuples
} hw_free_list_rules[] = {
	{ "PyCFunctionObject", "methodobject.c", HW_NO_FACT, HW_FACT(cfunction_size), true, false },
	{ "PyDictObject", "dictobject.c", HW_FACT(interp_dict_free_count), HW_FACT(dict_size), true,
	  false },
	{ "PyDictKeysObject", NULL, HW_FACT(freelists_keys_count), HW_FACT(dict_keys_size), false,
	  false },
	{ "PyFloatObject", "floatobject.c", HW_FACT(interp_float_free_count), HW_FACT(float_size),
	  false, false },
	{ "PyFrameObject", "frameobject.c", HW_FACT(interp_frame_free_count), HW_FACT(frame_size),
	  true, false },
	{ "PyListObject", "listobject.c", HW_FACT(interp_list_free_count), HW_FACT(list_size), true,
	  false },
	{ "PyMethodObject", "classobject.c", HW_NO_FACT, HW_FACT(method_size), true, false },
	{ "PyTupleObject", "tupleobject.c", HW_NO_FACT, HW_FACT(tuple_ob_item), true, true },
};
enum { HW_FREE_LIST_RULES = sizeof(hw_free_list_rules) / sizeof(hw_free_list_rules[0]) };

static int32_t hw_fact(const struct hw_python_layout *layout, size_t fact)
{
	return fact == HW_NO_FACT ? HW_ABSENT : *(const int32_t *)((const char *)layout + fact);
}

// Are the counters members of the interpreter?
static bool hw_has_members(const struct hw_python_layout *layout)
{
	return layout->interp_dict_free_count != HW_ABSENT;
}

// Where lists of tuples and their counters are, an array of each: offsets in PyInterpreterState.
struct hw_tuple_lists {
	int32_t heads, counts;
	uint32_t head_stride, count_stride;
	uint32_t number;
};

static struct hw_tuple_lists hw_tuple_lists(const struct hw_python_layout *l)
{
	struct hw_tuple_lists lists = { .heads = HW_ABSENT, .counts = HW_ABSENT };
	int64_t bytes = 0;
	if (l->interp_tuple_free_count != HW_ABSENT && l->interp_tuple_free_list != HW_ABSENT) {
		// Counters stand behind the lists.
		lists.heads = l->interp_tuple_free_list;
		lists.counts = l->interp_tuple_free_count;
		lists.head_stride = l->word_bytes;
		lists.count_stride = 4;
		bytes = (int64_t)lists.counts - lists.heads;
	} else if (l->interp_tuple_free_lists != HW_ABSENT && l->free_list_count != HW_ABSENT &&
		   l->free_list_size >= (int32_t)l->word_bytes + 4 &&
		   l->free_list_size <= HW_FREE_LIST_BYTES_MAX &&
		   l->free_list_count <= l->free_list_size - 4) {
		// The list of lists stands behind them.
		lists.heads = l->interp_tuple_free_lists;
		lists.counts = l->interp_tuple_free_lists + l->free_list_count;
		lists.head_stride = lists.count_stride = (uint32_t)l->free_list_size;
		bytes = (int64_t)l->interp_list_free_count - lists.counts;
	}
	if (bytes > 0)
		lists.number = (uint32_t)hw_min((uint64_t)bytes / lists.head_stride,
						HW_TUPLE_LISTS_MAX);
	return lists;
}

// Where a rule's counter is; false: this version has none.
static bool hw_find_counter(const struct hw_python *python, const struct hw_free_list_rule *rule,
			    hw_addr_t interpreter, hw_addr_t *ret)
{
	if (!hw_has_members(&python->layout))
		return rule->unit && hw_python_static(python, rule->unit, "numfree", ret);
	int32_t offset = rule->is_array ? hw_tuple_lists(&python->layout).counts
					: hw_fact(&python->layout, rule->member);
	*ret = interpreter + (hw_addr_t)offset;
	return offset != HW_ABSENT;
}

static struct hw_free_list hw_make_list(const struct hw_python_layout *layout,
					const struct hw_free_list_rule *rule, uint32_t length,
					uint32_t count)
{
	struct hw_free_list list = {
		.type = rule->type,
		.length = length,
		.count = (int32_t)count,
		.object_bytes = (uint64_t)hw_fact(layout, rule->size) + length * layout->word_bytes,
	};
	list.block_bytes = list.object_bytes;
	if (rule->is_gc && layout->gc_head_size != HW_ABSENT)
		list.block_bytes += (uint64_t)layout->gc_head_size;
	if (layout->interp_complex_free_count != HW_ABSENT)
		list.object_bytes = list.block_bytes; // 3.15
	return list;
}

static struct hw_error *hw_read_rule(struct hw_target *target, const struct hw_python *python,
				     const struct hw_free_list_rule *rule, hw_addr_t counter,
				     struct hw_free_lists *ret)
{
	uint8_t bytes[HW_FREE_LIST_BYTES_MAX * HW_TUPLE_LISTS_MAX];
	struct hw_tuple_lists tuples = hw_tuple_lists(&python->layout);
	if (!hw_has_members(&python->layout))
		tuples = (struct hw_tuple_lists){ .number = HW_TUPLE_LISTS, .count_stride = 4 };
	uint32_t count = rule->is_array ? tuples.number : 1;
	// Before the empty tuple became a static of the runtime (3.11) index 0 was its place, and
	// index i has tuples of length i; since then of length i + 1.
	uint32_t first = rule->is_array && python->layout.runtime_tuple_empty == HW_ABSENT;
	if (!count)
		return NULL;
	HW_TRY(hw_target_read(target, counter, bytes,
			      (size_t)(count - 1) * tuples.count_stride + 4));
	for (uint32_t i = first; i < count; i++) {
		struct hw_free_list list =
			hw_make_list(&python->layout, rule, rule->is_array ? i + 1 - first : 0,
				     hw_u32(bytes + (size_t)i * tuples.count_stride));
		if (!hw_vec_push(&ret->list, list))
			return &hw_enomem;
	}
	return NULL;
}

// Is there an object of that type, of `length` items where that is not 0?
static bool hw_is_object(struct hw_target *target, const struct hw_python *python, hw_addr_t object,
			 const char *type_symbol, uint64_t length)
{
	const struct hw_python_layout *l = &python->layout;
	struct hw_symbol type;
	uint64_t word, size;
	return hw_module_symbol(python->module, type_symbol, &type) &&
	       hw_target_read_word(target, object + (hw_addr_t)l->ob_type, &word) &&
	       hw_target_read_word(target, object + (hw_addr_t)l->ob_size, &size) &&
	       word == type.address && (!length || size == length);
}

// Each list of tuples begins with one of its length, and is empty where its counter says so.
static bool hw_prove_tuples(struct hw_target *target, const struct hw_python *python,
			    hw_addr_t interpreter, uint32_t *seen)
{
	struct hw_tuple_lists lists = hw_tuple_lists(&python->layout);
	uint32_t first = python->layout.runtime_tuple_empty == HW_ABSENT;
	for (uint32_t i = first; i < lists.number; i++) {
		uint64_t head;
		uint8_t count[4];
		hw_addr_t head_at = interpreter + (hw_addr_t)lists.heads + i * lists.head_stride;
		hw_addr_t count_at = interpreter + (hw_addr_t)lists.counts + i * lists.count_stride;
		if (!hw_target_read_word(target, head_at, &head) ||
		    hw_target_read_some(target, count_at, count, 4) != 4 ||
		    !head != !hw_u32(count) ||
		    (head && !hw_is_object(target, python, head, "PyTuple_Type", i + 1 - first)))
			return false;
		*seen += head != 0;
	}
	return lists.number > 0;
}

// The last one in an array of as many as the counter behind it says is of its type.
static bool hw_prove_array(struct hw_target *target, const struct hw_python *python,
			   hw_addr_t interpreter, int32_t array, int32_t counter,
			   const char *type_symbol, uint32_t *seen)
{
	uint8_t number[4];
	uint64_t last;
	if (array == HW_ABSENT)
		return true; // 3.14: a list, and those of tuples have to do
	if (counter <= array ||
	    hw_target_read_some(target, interpreter + (hw_addr_t)counter, number, 4) != 4 ||
	    hw_u32(number) > (uint32_t)(counter - array) / python->layout.word_bytes)
		return false;
	if (!hw_u32(number))
		return true;
	++*seen;
	hw_addr_t at = interpreter + (hw_addr_t)array +
		       (hw_addr_t)(hw_u32(number) - 1) * python->layout.word_bytes;
	return hw_target_read_word(target, at, &last) &&
	       hw_is_object(target, python, last, type_symbol, 0);
}

// Point releases move members of PyInterpreterState, so that a table's answer needs a proof. The lists are
// neighbours: those that can be told from anything else speak for the others.
static bool hw_prove_members(struct hw_target *target, const struct hw_python *python,
			     hw_addr_t interpreter)
{
	const struct hw_python_layout *l = &python->layout;
	uint32_t seen = 0;
	return hw_prove_tuples(target, python, interpreter, &seen) &&
	       hw_prove_array(target, python, interpreter, l->interp_dict_free_list,
			      l->interp_dict_free_count, "PyDict_Type", &seen) &&
	       hw_prove_array(target, python, interpreter, l->interp_list_free_list,
			      l->interp_list_free_count, "PyList_Type", &seen) &&
	       seen;
}

struct hw_error *hw_free_lists_read(struct hw_target *target, const struct hw_python *python,
				    hw_addr_t interpreter, struct hw_free_lists *ret)
{
	*ret = (struct hw_free_lists){ .is_known = false };
	bool has_members = hw_has_members(&python->layout);
	if (has_members && (!interpreter || (python->is_from_table &&
					     !hw_prove_members(target, python, interpreter))))
		return NULL;
	for (size_t i = 0; i < HW_FREE_LIST_RULES; i++) {
		const struct hw_free_list_rule *rule = &hw_free_list_rules[i];
		hw_addr_t counter;
		if (!hw_find_counter(python, rule, interpreter, &counter))
			continue;
		// One found: the others that are not are none.
		ret->is_known = hw_fact(&python->layout, rule->size) != HW_ABSENT;
		if (!ret->is_known) {
			ret->list.count = 0; // all or none
			return NULL;
		}
		HW_TRY(hw_read_rule(target, python, rule, counter, ret));
	}
	return NULL;
}

void hw_free_lists_deinit(struct hw_free_lists *lists)
{
	hw_vec_deinit(&lists->list);
}

void hw_free_lists_prepare(const struct hw_python *python)
{
	hw_addr_t counter;
	for (size_t i = 0; i < HW_FREE_LIST_RULES; i++)
		(void)hw_find_counter(python, &hw_free_list_rules[i], 0, &counter);
}
