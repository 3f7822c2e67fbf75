/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The buffers of libstdc++'s containers that are members of a known object.
#ifndef HW_NATIVE_CXX_CONTAINERS_H
#define HW_NATIVE_CXX_CONTAINERS_H

#include "native/classifier.h"
#include "symbols/dwarf_class.h"

// Claims what the containers in the object at `object`, of the class `owner`, have: buffers, nodes, and what
// containers in these have. `owner` lives as long as the classifier.
void hw_cxx_claim_members(struct hw_native_sink *sink, const char *owner,
			  const struct hw_std_members *members, hw_addr_t object);

#endif
