# SPDX-License-Identifier: LGPL-2.1-or-later
# A 32-bit process that needs no 32-bit C library: says "stop", waits for the end of stdin.
	.globl _start
	.text
_start:	movl $4, %eax
	movl $1, %ebx
	movl $word, %ecx
	movl $5, %edx
	int $0x80
again:	movl $3, %eax
	movl $0, %ebx
	movl $byte, %ecx
	movl $1, %edx
	int $0x80
	cmpl $1, %eax
	je again
	movl $1, %eax
	movl $0, %ebx
	int $0x80
	.data
word:	.ascii "stop\n"
byte:	.byte 0
