/* SPDX-License-Identifier: LGPL-2.1-or-later */
// CPython's structures out of the headers of Debian's libpython3.X-dev, compiled as of a build that Debian
// does not have (-DPy_GIL_DISABLED=1). probe.py has layout_dump read the DWARF: nothing of
// CPython's is linked or runs.
#include "Python.h"

#include "pycore_code.h"
#include "pycore_dict.h"
#include "pycore_frame.h"
#include "pycore_freelist.h"
#include "pycore_gc.h"
#include "pycore_hashtable.h"
#include "pycore_interp.h"
#include "pycore_list.h"
#include "pycore_mimalloc.h"
#include "pycore_moduleobject.h"
#include "pycore_obmalloc.h"
#include "pycore_runtime.h"
#include "pycore_tstate.h"
#include "pycore_unicodeobject.h"

#include <stdio.h>

// Says which version the headers are of, and waits.
int main(void)
{
	printf("%08x\n", (unsigned)PY_VERSION_HEX);
	fflush(stdout);
	return getchar() == 0;
}
