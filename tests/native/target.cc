// SPDX-License-Identifier: LGPL-2.1-or-later
// Objects of several classes; prints "ADDRESS NAME" for each, "ready", and sleeps.
#include <cstdio>
#include <map>
#include <string>
#include <unistd.h>

namespace shapes
{
struct base {
	virtual ~base()
	{
	}
	int x = 1;
};
struct other {
	virtual ~other()
	{
	}
	int y = 2;
};
struct circle : base, other {
	~circle() override
	{
	}
};
struct diamond : virtual base {
	~diamond() override
	{
	}
};
template <typename T> struct box : base {
	T value{};
	~box() override
	{
	}
};
} // namespace shapes

namespace
{
struct hidden : shapes::base {
	~hidden() override
	{
	}
};
} // namespace

struct plain {
	long a = 3;
};

int main()
{
	std::printf("%p shapes::base\n", static_cast<void *>(new shapes::base));
	std::printf("%p shapes::circle\n", static_cast<void *>(new shapes::circle));
	// Without typeinfo a vtable that begins with offsets of virtual bases says nothing.
#ifdef __GXX_RTTI
	const char *diamond = "shapes::diamond";
#else
	const char *diamond = "-";
#endif
	std::printf("%p %s\n", static_cast<void *>(new shapes::diamond), diamond);
	std::printf("%p shapes::box<std::map<int, long, std::less<int>, "
		    "std::allocator<std::pair<int const, long> > > >\n",
		    static_cast<void *>(new shapes::box<std::map<int, long>>));
	std::printf("%p (anonymous namespace)::hidden\n", static_cast<void *>(new hidden));
	// The second base's part of an object: its first word leads into the vtable of shapes::circle, too.
	std::printf("%p -\n",
		    static_cast<void *>(static_cast<shapes::other *>(new shapes::circle)));
	std::printf("%p -\n", static_cast<void *>(new plain));
	std::printf("%p -\n", static_cast<void *>(new std::string(100, 'x')));
	std::printf("%p -\n", static_cast<void *>(new const char *("text")));
	std::printf("ready\n");
	std::fflush(stdout);
	for (;;)
		pause();
}
