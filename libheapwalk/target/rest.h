/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef HW_TARGET_REST_H
#define HW_TARGET_REST_H

// hw_target_rest() of a process; `proc_fd` is its /proc directory.
char *hw_proc_rest(int proc_fd);

#endif
