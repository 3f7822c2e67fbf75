/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What tells PyPy's processes: a library of that name with a symbol of that name. Built twice, as the
// library and as a program that is linked with it.
#include "stop.h"

void rpython_startup_code(void);

#ifdef HW_LIBRARY
void rpython_startup_code(void)
{
}
#else
int main(void)
{
	rpython_startup_code();
	if (!malloc(1000))
		return 4;
	stop_here();
	return 0;
}
#endif
