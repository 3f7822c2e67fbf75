/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Where the members are that a user's rules name: out of the target's debug information.
#ifndef HW_SYMBOLS_RULE_FIELDS_H
#define HW_SYMBOLS_RULE_FIELDS_H

#include "base/rules.h"
#include "symbols/modules.h"

// Fills in the offsets of fields given by a member. HW_ERROR_INVALID: "FILE:LINE: …", when no debug
// information has the member, or two modules have it in different places.
struct hw_error *hw_rules_resolve(struct hw_rules *rules, struct hw_modules *modules) HW_MUST_USE;

#endif
