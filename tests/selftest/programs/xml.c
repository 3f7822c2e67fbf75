/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Documents of libxml2, parsed and built, counted by walking them with its own functions.
#include <libxml/parser.h>
#include <libxml/tree.h>

#include "stop.h"

static long docs, nodes, attributes, namespaces;

static void count(xmlNode *node)
{
	for (; node; node = node->next) {
		nodes++;
		if (node->type != XML_ELEMENT_NODE)
			continue;
		for (xmlAttr *attr = node->properties; attr; attr = attr->next) {
			attributes++;
			count(attr->children);
		}
		for (xmlNs *ns = node->nsDef; ns; ns = ns->next)
			namespaces++;
		count(node->children);
	}
}

static xmlDoc *keep[16];

int main(void)
{
	char *text = malloc(1 << 20), *at = text;
	at += sprintf(at, "<?xml version='1.0'?><!-- c --><r xmlns='urn:a' xmlns:b='urn:b'>");
	for (int i = 0; i < 500; i++)
		at += sprintf(at,
			      "<item id='i%d' b:k='v'>text of item %d, of some length%s</item>\n",
			      i, i, i % 5 ? "" : "<![CDATA[ raw ]]><?pi data?>");
	at += sprintf(at, "</r>");
	for (int i = 0; i < 6; i++)
		keep[docs++] = xmlReadMemory(text, (int)(at - text), "mem.xml", NULL, 0);
	for (int i = 0; i < 3; i++) {
		xmlDoc *doc = xmlNewDoc(BAD_CAST "1.0");
		xmlNode *root = xmlNewNode(NULL, BAD_CAST "root");
		xmlDocSetRootElement(doc, root);
		for (int k = 0; k < 50; k++)
			xmlNewChild(root, NULL, BAD_CAST "child", BAD_CAST "some content");
		xmlNewProp(root, BAD_CAST "name", BAD_CAST "value");
		keep[docs++] = doc;
	}
	for (int i = 0; i < 4; i++)
		xmlFreeDoc(xmlReadMemory(text, (int)(at - text), "gone.xml", NULL, 0));
	free(text);
	for (long i = 0; i < docs; i++)
		count(keep[i]->children);
	say("xmlDoc", docs);
	say("xmlNode", nodes);
	say("xmlAttr", attributes);
	say("xmlNs", namespaces);
	say("xmlDict", 6); // the parsed ones have theirs
	stop_here();
	return 0;
}
