// SPDX-License-Identifier: MIT
#include <stdio.h>

#include <bpf/libbpf.h>

#include "CPrograms.h"

/* libbpf calls back on the thread that calls it, and only one thread does. */
static void (*tell)(const char *text, size_t size);
/* A verifier log is as long as 16 MB; its end is what counts. */
static char line[1 << 16];

static int hear(enum libbpf_print_level level, const char *format, va_list arguments)
{
	int length;

	if (level == LIBBPF_DEBUG)
		return 0;
	length = vsnprintf(line, sizeof(line), format, arguments);
	if (length > 0)
		tell(line, (size_t)length < sizeof(line) ? (size_t)length : sizeof(line) - 1);
	return length;
}

void programs_log(void (*listener)(const char *text, size_t size))
{
	tell = listener;
	libbpf_set_print(hear);
}
