// SPDX-License-Identifier: LGPL-2.1-or-later
// C++ objects that can be known by their vtables: 100 Foo, 50 Bar, and less plain ones. Prints a line
// "NAME COUNT" for each class, then "stop", and waits for the end of stdin.
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

class Foo
{
      public:
	virtual ~Foo()
	{
	}
	virtual int id() const
	{
		return 1;
	}
	int f[20];
};

class Bar
{
      public:
	virtual ~Bar()
	{
	}
	virtual int id() const
	{
		return 2;
	}
	double b[7];
};

class Child : public Foo, public Bar
{
      public:
	int id() const override
	{
		return 3;
	}
	int extra;
};

namespace shapes
{
template <typename T> class Box
{
      public:
	virtual ~Box()
	{
	}
	T content[4];
};
} // namespace shapes

namespace
{
class Hidden
{
      public:
	virtual ~Hidden()
	{
	}
	int h[3];
};
} // namespace

namespace net
{
class Base
{
      public:
	virtual ~Base()
	{
	}
	unsigned count = 40;
};

class Session : public Base // a rule names its buffer
{
      public:
	char *buffer = new char[count * 8];
	void *shared = &buffer; // no block
};
} // namespace net

class Holder // owns by its members, and by what is in them
{
      public:
	virtual ~Holder()
	{
	}
	std::string text = std::string(50, 'x');
	std::string small = "in itself";
	std::vector<std::string> names = std::vector<std::string>(5, std::string(40, 'y'));
	struct {
		int a;
		std::map<int, std::string> map;
	} inner;
	std::set<long> numbers = { 1, 2, 3 };
	std::vector<int> integers = std::vector<int>(100);
	std::vector<bool> bits = std::vector<bool>(1000); // not known
	std::map<std::string, std::vector<int>> lists;
	Holder()
	{
		for (int i = 0; i < 20; i++)
			inner.map[i * 7 % 20] = std::string(30 + (size_t)i, 'z');
		lists[std::string(60, 'k')] = { 1, 2, 3 };
		lists["short"] = {};
	}
};

class Plain // no vtable: nothing says what it is
{
      public:
	int p[30];
};

template <typename T> static void make(std::vector<void *> &keep, int count)
{
	for (int i = 0; i < count; i++)
		keep.push_back(new T);
}

int main()
{
	std::vector<void *> keep;
	make<Foo>(keep, 100);
	make<Bar>(keep, 50);
	make<Child>(keep, 25);
	make<shapes::Box<int>>(keep, 12);
	make<Hidden>(keep, 7);
	make<net::Session>(keep, 9);
	make<Holder>(keep, 8);
	make<Plain>(keep, 30);
	// Nobody known owns these.
	std::vector<std::string> loose(20, std::string(100, 'l'));
	// Dead ones keep their vtable pointers' successors: only free lists tell.
	for (int i = 0; i < 30; i++)
		delete new Foo;
	std::string text =
		"Foo 100\nBar 50\nChild 25\nshapes::Box<int> 12\n"
		"(anonymous namespace)::Hidden 7\nnet::Session 9\nHolder 8\n"
		"std::string buffer 216\nstd::vector buffer 24\nstd::map node 200\nstop\n";
	if (write(STDOUT_FILENO, text.data(), text.size()) < 0)
		return 3;
	char c;
	while (read(STDIN_FILENO, &c, 1) == 1)
		;
	return 0;
}
