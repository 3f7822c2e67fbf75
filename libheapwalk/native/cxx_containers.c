/* SPDX-License-Identifier: LGPL-2.1-or-later */
// libstdc++'s std::string (C++11 ABI), std::vector, and the tree of std::map and its kin, as its ABI fixes
// them (bits/basic_string.h, stl_vector.h, stl_tree.h; GCC 5 - 14). Debug information says that one is at
// a place in an object; what is there has to agree before it is believed.
#include "native/cxx_containers.h"

#include "base/bytes.h"

enum { STRING_LENGTH = 8, STRING_LOCAL = 16, STRING_BYTES = 32 };
enum { VECTOR_FINISH = 8, VECTOR_END = 16, VECTOR_BYTES = 24 };
enum { TREE_HEADER = 8, TREE_COUNT = 40, TREE_BYTES = 48 };
enum { NODE_PARENT = 8, NODE_LEFT = 16, NODE_RIGHT = 24, NODE_BYTES = 32 };

struct hw_container_walk {
	struct hw_native_sink *sink;
	const char *owner;
	const struct hw_std_member *members;
};

static void hw_visit_members(const struct hw_container_walk *walk, uint32_t from, uint32_t to,
			     hw_addr_t base);

static void hw_claim_part(const struct hw_container_walk *walk, hw_addr_t at, const char *kind)
{
	walk->sink->claim(walk->sink, at, &(struct hw_native_kind){ "C++", kind, walk->owner });
}

// A short text is in the string itself; a long one has a buffer, with room for a zero behind it.
static void hw_visit_string(const struct hw_container_walk *walk, hw_addr_t addr)
{
	uint8_t bytes[STRING_BYTES], end;
	uint64_t capacity;
	if (!hw_pages_read(walk->sink->pages, addr, bytes, sizeof(bytes)))
		return;
	hw_addr_t text = hw_u64(bytes);
	uint64_t len = hw_u64(bytes + STRING_LENGTH), room = hw_u64(bytes + STRING_LOCAL);
	if (text == addr + STRING_LOCAL || len > room ||
	    !walk->sink->find(walk->sink, text, &capacity) || room >= capacity ||
	    !hw_pages_read(walk->sink->pages, text + len, &end, 1) || end)
		return;
	hw_claim_part(walk, text, "std::string buffer");
}

static void hw_visit_vector(const struct hw_container_walk *walk, uint32_t index, hw_addr_t addr)
{
	const struct hw_std_member *member = &walk->members[index];
	uint8_t bytes[VECTOR_BYTES];
	uint64_t capacity;
	if (!hw_pages_read(walk->sink->pages, addr, bytes, sizeof(bytes)))
		return;
	hw_addr_t start = hw_u64(bytes), finish = hw_u64(bytes + VECTOR_FINISH);
	hw_addr_t end = hw_u64(bytes + VECTOR_END);
	if (!start || start > finish || finish > end || (finish - start) % member->element_bytes ||
	    (end - start) % member->element_bytes ||
	    !walk->sink->find(walk->sink, start, &capacity) || end - start > capacity)
		return;
	hw_claim_part(walk, start, "std::vector buffer");
	if (index + 1 == member->end)
		return;
	for (hw_addr_t at = start; at < finish && hw_native_step(walk->sink);
	     at += member->element_bytes)
		hw_visit_members(walk, index + 1, member->end, at);
}

// A node that points back at `parent`: its links into `node`.
static bool hw_tree_node(const struct hw_container_walk *walk, hw_addr_t at, hw_addr_t parent,
			 uint8_t node[NODE_BYTES])
{
	return at && !(at & 7) && hw_pages_read(walk->sink->pages, at, node, NODE_BYTES) &&
	       hw_u64(node + NODE_PARENT) == parent;
}

// The node after `at` in the order parent, left, right; 0: none.
static hw_addr_t hw_tree_next(const struct hw_container_walk *walk, hw_addr_t header, hw_addr_t at,
			      const uint8_t *node, hw_addr_t *ret_parent)
{
	hw_addr_t left = hw_u64(node + NODE_LEFT), right = hw_u64(node + NODE_RIGHT);
	hw_addr_t parent = hw_u64(node + NODE_PARENT);
	uint8_t above[NODE_BYTES];
	*ret_parent = at;
	if (left || right)
		return left ? left : right;
	while (parent != header && hw_native_step(walk->sink) &&
	       hw_pages_read(walk->sink->pages, parent, above, sizeof(above))) {
		right = hw_u64(above + NODE_RIGHT);
		*ret_parent = parent;
		if (right && right != at && hw_u64(above + NODE_LEFT) == at)
			return right;
		at = parent;
		parent = hw_u64(above + NODE_PARENT);
	}
	return 0;
}

static void hw_visit_tree(const struct hw_container_walk *walk, uint32_t index, hw_addr_t addr)
{
	const struct hw_std_member *member = &walk->members[index];
	uint8_t bytes[TREE_BYTES], node[NODE_BYTES];
	if (!hw_pages_read(walk->sink->pages, addr, bytes, sizeof(bytes)))
		return;
	hw_addr_t header = addr + TREE_HEADER, parent = header;
	hw_addr_t at = hw_u64(bytes + TREE_HEADER + NODE_PARENT);
	uint64_t count = hw_u64(bytes + TREE_COUNT);
	for (uint64_t i = 0;
	     i < count && hw_native_step(walk->sink) && hw_tree_node(walk, at, parent, node); i++) {
		hw_claim_part(walk, at, "std::map node");
		if (index + 1 < member->end)
			hw_visit_members(walk, index + 1, member->end, at + member->element_bytes);
		at = hw_tree_next(walk, header, at, node, &parent);
	}
}

// Containers in containers are as deep as the class's own types are, and these are bounded.
static void hw_visit_members(const struct hw_container_walk *walk, uint32_t from, uint32_t to,
			     hw_addr_t base)
{
	for (uint32_t i = from; i < to; i = walk->members[i].end) {
		hw_addr_t addr = base + walk->members[i].offset;
		switch (walk->members[i].kind) {
		case HW_STD_STRING:
			hw_visit_string(walk, addr);
			break;
		case HW_STD_VECTOR:
			hw_visit_vector(walk, i, addr);
			break;
		default:
			hw_visit_tree(walk, i, addr);
		}
	}
}

void hw_cxx_claim_members(struct hw_native_sink *sink, const char *owner,
			  const struct hw_std_members *members, hw_addr_t object)
{
	const struct hw_container_walk walk = { sink, owner, members->list.data };
	hw_visit_members(&walk, 0, (uint32_t)members->list.count, object);
}
