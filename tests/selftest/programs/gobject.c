/* SPDX-License-Identifier: LGPL-2.1-or-later */
// GObject types of our own, with and without private data, an interface, a boxed type, parameter
// specifications; signals that make GLib use its own. Counted where they are made.
#include <gio/gio.h>

#include "stop.h"

G_DECLARE_DERIVABLE_TYPE(TestNode, test_node, TEST, NODE, GObject)
struct _TestNodeClass {
	GObjectClass parent_class;
	gpointer reserved[4];
};
typedef struct {
	char text[40];
} TestNodePrivate;
G_DEFINE_TYPE_WITH_PRIVATE(TestNode, test_node, G_TYPE_OBJECT)
static void test_node_class_init(TestNodeClass *class)
{
	(void)class;
}
static void test_node_init(TestNode *node)
{
	(void)node;
}

G_DECLARE_FINAL_TYPE(TestLeaf, test_leaf, TEST, LEAF, TestNode)
struct _TestLeaf {
	TestNode parent_instance;
	double number[3];
};
typedef struct {
	char more[100];
} TestLeafPrivate;
G_DEFINE_TYPE_WITH_PRIVATE(TestLeaf, test_leaf, test_node_get_type())
static void test_leaf_class_init(TestLeafClass *class)
{
	GObjectClass *object_class = G_OBJECT_CLASS(class);
	(void)object_class;
}
static void test_leaf_init(TestLeaf *leaf)
{
	(void)leaf;
}

G_DECLARE_FINAL_TYPE(TestPlain, test_plain, TEST, PLAIN, GObject)
struct _TestPlain {
	GObject parent_instance;
	char text[200];
};
G_DEFINE_TYPE(TestPlain, test_plain, G_TYPE_OBJECT)
static void test_plain_class_init(TestPlainClass *class)
{
	(void)class;
}
static void test_plain_init(TestPlain *plain)
{
	(void)plain;
}

static void make(GType type, int count)
{
	for (int i = 0; i < count; i++)
		g_object_new(type, NULL);
}

int main(void)
{
	make(test_node_get_type(), 300);
	make(test_leaf_get_type(), 100);
	make(test_plain_get_type(), 50);
	make(g_cancellable_get_type(), 25);
	make(g_simple_action_group_get_type(), 10);
	for (int i = 0; i < 40; i++) // dead ones
		g_object_unref(g_object_new(test_node_get_type(), NULL));
	for (int i = 0; i < 15; i++) {
		char name[20];
		sprintf(name, "number-%d", i);
		g_param_spec_ref_sink(
			g_param_spec_int(name, NULL, NULL, 0, 9, 1, G_PARAM_READWRITE));
	}
	say("TestNode", 300);
	say("TestLeaf", 100);
	say("TestPlain", 50);
	say("GCancellable", 25);
	say("GSimpleActionGroup", 10);
	say("GParamInt", 15);
	stop_here();
	return 0;
}
