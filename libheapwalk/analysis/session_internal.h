/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the files behind analysis/session.h share: session_parts.c makes the parts, session_brief.c pymalloc
// alone while the target is disturbed as little as it can be. These expect the target stopped, or at rest.
#ifndef HW_ANALYSIS_SESSION_INTERNAL_H
#define HW_ANALYSIS_SESSION_INTERNAL_H

#include "analysis/session.h"

struct hw_error *hw_session_make_modules(struct hw_session *session) HW_MUST_USE;
struct hw_error *hw_session_make_python(struct hw_session *session) HW_MUST_USE;
struct hw_error *hw_session_make_pymalloc(struct hw_session *session) HW_MUST_USE;
void hw_session_forget_allocators(struct hw_session *session);
void hw_session_forget_python(struct hw_session *session);
// The process has exited while it was read: an error.
struct hw_error *hw_session_check_alive(struct hw_session *session) HW_MUST_USE;

#endif
