/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The walk over the malloc of a 32-bit target: the same files, for words of four bytes (word.h).
#define HW_GLIBC_WORD 4

// NOLINTBEGIN(bugprone-suspicious-include): that is the point of it
#include "glibc/arena.c"
#include "glibc/bins.c"
#include "glibc/find.c"
#include "glibc/layout.c"
#include "glibc/links.c"
#include "glibc/main.c"
#include "glibc/malloc.c"
#include "glibc/mmapped.c"
#include "glibc/namespaces.c"
#include "glibc/other.c"
#include "glibc/pieces.c"
#include "glibc/region.c"
#include "glibc/regions.c"
#include "glibc/scan.c"
#include "glibc/tcache.c"
// NOLINTEND(bugprone-suspicious-include)
