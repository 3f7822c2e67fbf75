/* SPDX-License-Identifier: LGPL-2.1-or-later */
// libxml2's documents: struct _xmlDoc, _xmlNode, _xmlAttr, _xmlNs (tree.h), _xmlDict (dict.c), as they are
// in 2.9 – 2.13. A document's `doc` is itself; a node's `doc` is a document, its parent, its neighbours and
// its children point back at it. All is found from the documents, link by link.
//
// Texts: names and short texts stand in the document's dictionary; others are blocks of their own.
#include "base/bytes.h"
#include "native/classifiers.h"

// All kinds of nodes begin alike.
enum {
	NODE_TYPE = 8, // int
	NODE_NAME = 16,
	NODE_CHILDREN = 24,
	NODE_LAST = 32,
	NODE_PARENT = 40,
	NODE_NEXT = 48,
	NODE_PREV = 56,
	NODE_DOC = 64,
	NODE_HEAD_BYTES = 72,
};
enum {
	NODE_CONTENT = 80, // struct _xmlNode
	NODE_PROPERTIES = 88,
	NODE_NS_DEF = 96,
	NODE_BYTES = 120,
	ATTR_BYTES = 96, // struct _xmlAttr
};
enum {
	DOC_VERSION = 104,
	DOC_ENCODING = 112,
	DOC_URL = 136,
	DOC_DICT = 152,
	DOC_BYTES = 176
}; // _xmlDoc
enum { NS_NEXT = 0, NS_TYPE = 8, NS_HREF = 16, NS_PREFIX = 24, NS_CONTEXT = 40, NS_BYTES = 48 };
// dict.c, struct _xmlDict and struct _xmlDictStrings
enum { DICT_TABLE = 8, DICT_STRINGS = 32, DICT_BYTES = 64 };
enum {
	POOL_NEXT = 0,
	POOL_FREE = 8,
	POOL_END = 16,
	POOL_SIZE = 24, // of what stands behind its head
	POOL_HEAD_BYTES = 40,
};

// xmlElementType
enum {
	XML_ELEMENT = 1,
	XML_ATTRIBUTE = 2,
	XML_TEXT = 3,
	XML_CDATA = 4,
	XML_ENTITY_REF = 5,
	XML_PI = 7,
	XML_COMMENT = 8,
	XML_DOCUMENT = 9,
	XML_HTML_DOCUMENT = 13,
	XML_NAMESPACE = 18,
};

static struct hw_error *hw_xml_open(const struct hw_native *native, void **ret)
{
	*ret = hw_native_library(native, "libxml2", "xmlNewDoc");
	return NULL;
}

static void hw_xml_close(void *state)
{
	(void)state;
}

static void hw_xml_claim(struct hw_native_sink *sink, hw_addr_t at, const char *kind,
			 const char *detail)
{
	sink->claim(sink, at, &(struct hw_native_kind){ "libxml2", kind, detail });
}

// A node of this document at `at`; its first bytes into `head`.
static bool hw_xml_is_node(struct hw_native_sink *sink, hw_addr_t doc, hw_addr_t at,
			   uint8_t head[NODE_HEAD_BYTES])
{
	uint64_t capacity;
	return at && !(at & 7) && sink->find(sink, at, &capacity) && capacity >= ATTR_BYTES &&
	       hw_pages_read(sink->pages, at, head, NODE_HEAD_BYTES) &&
	       hw_u64(head + NODE_DOC) == doc;
}

static bool hw_xml_is_text(uint32_t type)
{
	return type == XML_TEXT || type == XML_CDATA || type == XML_PI || type == XML_COMMENT;
}

// A text that the node at `owner` points at: a block of its own, or none.
static void hw_xml_claim_text(struct hw_native_sink *sink, hw_addr_t owner, uint64_t offset,
			      const char *detail)
{
	uint64_t text;
	if (hw_pages_read_u64(sink->pages, owner + offset, &text) && text)
		hw_xml_claim(sink, text, "text", detail);
}

static void hw_xml_claim_namespaces(struct hw_native_sink *sink, hw_addr_t at)
{
	uint8_t ns[NS_BYTES];
	uint64_t capacity;
	while (at && hw_native_step(sink) && sink->find(sink, at, &capacity) &&
	       capacity >= NS_BYTES && hw_pages_read(sink->pages, at, ns, sizeof(ns)) &&
	       hw_u32(ns + NS_TYPE) == XML_NAMESPACE) {
		hw_xml_claim(sink, at, "xmlNs", "");
		hw_xml_claim(sink, hw_u64(ns + NS_HREF), "text", "namespace");
		hw_xml_claim(sink, hw_u64(ns + NS_PREFIX), "text", "namespace");
		at = hw_u64(ns + NS_NEXT);
	}
}

// What belongs to one node besides its children. `head` are its first bytes.
static void hw_xml_claim_node(struct hw_native_sink *sink, hw_addr_t at, const uint8_t *head)
{
	uint32_t type = hw_u32(head + NODE_TYPE);
	hw_addr_t text;
	uint64_t namespaces;
	if (type == XML_ATTRIBUTE) {
		hw_xml_claim(sink, at, "xmlAttr", "");
		hw_xml_claim(sink, hw_u64(head + NODE_NAME), "text", "name");
		return;
	}
	if (type != XML_ELEMENT && type != XML_ENTITY_REF && !hw_xml_is_text(type))
		return; // declarations: a structure of another kind
	hw_xml_claim(sink, at, "xmlNode", "");
	text = hw_u64(head + NODE_NAME);
	if (type == XML_ELEMENT || type == XML_PI || type == XML_ENTITY_REF)
		hw_xml_claim(sink, text, "text", "name");
	if (hw_xml_is_text(type))
		hw_xml_claim_text(sink, at, NODE_CONTENT, "content");
	if (type == XML_ELEMENT && hw_pages_read_u64(sink->pages, at + NODE_NS_DEF, &namespaces))
		hw_xml_claim_namespaces(sink, namespaces);
}

// The tree below `first`, without recursion: down, along, up again. A link counts when the node that it
// leads to points back, so that each node is met once and every way up was a way down.
static void hw_xml_walk(struct hw_native_sink *sink, hw_addr_t doc, hw_addr_t parent,
			hw_addr_t first)
{
	uint8_t head[NODE_HEAD_BYTES];
	hw_addr_t at = first, top = parent, prev = 0;
	bool is_way_up = false;
	while (hw_native_step(sink)) {
		if (!at || !hw_xml_is_node(sink, doc, at, head) ||
		    (!is_way_up &&
		     (hw_u64(head + NODE_PARENT) != parent || hw_u64(head + NODE_PREV) != prev))) {
			// The end of a list, or a damaged one: on with what follows the parent.
			if (parent == top || is_way_up)
				return;
			at = parent;
			is_way_up = true;
			continue;
		}
		uint64_t properties;
		uint32_t type = hw_u32(head + NODE_TYPE);
		if (!is_way_up) {
			hw_xml_claim_node(sink, at, head);
			// Attributes have texts below them, and no more.
			if (type == XML_ELEMENT &&
			    hw_pages_read_u64(sink->pages, at + NODE_PROPERTIES, &properties) &&
			    properties && top == doc)
				hw_xml_walk(sink, doc, at, properties);
			hw_addr_t child = hw_u64(head + NODE_CHILDREN);
			if (child && type != XML_ENTITY_REF && !hw_xml_is_text(type)) {
				parent = at;
				at = child;
				prev = 0;
				continue;
			}
		}
		is_way_up = false;
		parent = hw_u64(head + NODE_PARENT);
		prev = at;
		at = hw_u64(head + NODE_NEXT);
	}
}

static void hw_xml_claim_dict(struct hw_native_sink *sink, hw_addr_t dict)
{
	uint8_t head[DICT_BYTES], pool[POOL_HEAD_BYTES];
	uint64_t capacity;
	if (!dict || !sink->find(sink, dict, &capacity) || capacity < DICT_BYTES ||
	    !hw_pages_read(sink->pages, dict, head, sizeof(head)))
		return;
	hw_addr_t at = hw_u64(head + DICT_STRINGS);
	bool is_proven = false;
	while (at && hw_native_step(sink) && sink->find(sink, at, &capacity) &&
	       capacity >= POOL_HEAD_BYTES && hw_pages_read(sink->pages, at, pool, sizeof(pool))) {
		hw_addr_t end = hw_u64(pool + POOL_END), from = hw_u64(pool + POOL_FREE);
		uint64_t size = hw_u64(pool + POOL_SIZE);
		if (size > capacity - POOL_HEAD_BYTES || end != at + POOL_HEAD_BYTES + size ||
		    from > end || from < at + POOL_HEAD_BYTES)
			break;
		hw_xml_claim(sink, at, "xmlDict strings", "");
		is_proven = true;
		at = hw_u64(pool + POOL_NEXT);
	}
	if (!is_proven)
		return;
	hw_xml_claim(sink, dict, "xmlDict", "");
	hw_xml_claim(sink, hw_u64(head + DICT_TABLE), "xmlDict table", "");
}

static bool hw_xml_classify(void *state, struct hw_native_sink *sink,
			    const struct hw_native_block *block, struct hw_native_kind *ret)
{
	const uint8_t *bytes = block->bytes;
	(void)state;
	if (block->len < DOC_BYTES || hw_u64(bytes + NODE_DOC) != block->start ||
	    (hw_u32(bytes + NODE_TYPE) != XML_DOCUMENT &&
	     hw_u32(bytes + NODE_TYPE) != XML_HTML_DOCUMENT) ||
	    hw_u64(bytes + NODE_PARENT) || block->capacity > 2 * DOC_BYTES)
		return false;
	*ret = (struct hw_native_kind){ "libxml2", "xmlDoc", "" };
	hw_addr_t first = hw_u64(bytes + NODE_CHILDREN), dict = hw_u64(bytes + DOC_DICT);
	hw_xml_claim(sink, hw_u64(bytes + DOC_VERSION), "text", "document");
	hw_xml_claim(sink, hw_u64(bytes + DOC_ENCODING), "text", "document");
	hw_xml_claim(sink, hw_u64(bytes + DOC_URL), "text", "document");
	hw_xml_walk(sink, block->start, block->start, first);
	hw_xml_claim_dict(sink, dict);
	return true;
}

const struct hw_classifier hw_libxml2_classifier = {
	.name = "libxml2",
	.open = hw_xml_open,
	.close = hw_xml_close,
	.classify = hw_xml_classify,
};
