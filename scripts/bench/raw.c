// SPDX-License-Identifier: MIT
/*
 * raw ADDRESS PORT: downloads /big by HTTP and copies it to standard output. A static program without any
 * libc: it makes its system calls itself, as Go's do, so nothing can be preloaded into it.
 */
#include <asm/unistd.h>
#include <linux/in.h>
#include <linux/types.h>

#define AF_INET 2
#define SOCK_STREAM 1

static long call(long number, long a, long b, long c)
{
#if defined(__x86_64__)
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b,
			 x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
#else
#error "no system calls known for this architecture"
#endif
}

// The number at the start of a text, in network order if it is a port; moves the text behind it and a dot.
static unsigned number(const char **text)
{
	unsigned value = 0;

	while (**text >= '0' && **text <= '9')
		value = value * 10 + (unsigned)(*(*text)++ - '0');
	if (**text)
		(*text)++;
	return value;
}

__attribute__((used)) static int start(long *stack)
{
	static const char request[] = "GET /big HTTP/1.0\r\n\r\n";
	static char buffer[1 << 16];
	char **arguments = (char **)(stack + 1);
	struct sockaddr_in address = {.sin_family = AF_INET};
	const char *text;
	unsigned value = 0;
	long fd, length;

	if (*stack != 3)
		return 2;
	text = arguments[1];
	for (int i = 0; i < 4; i++)
		value = value << 8 | number(&text);
	address.sin_addr.s_addr = __builtin_bswap32(value);
	text = arguments[2];
	address.sin_port = __builtin_bswap16((unsigned short)number(&text));
	fd = call(__NR_socket, AF_INET, SOCK_STREAM, 0);
	if (call(__NR_connect, fd, (long)&address, sizeof(address)) < 0 ||
	    call(__NR_write, fd, (long)request, sizeof(request) - 1) < 0)
		return 1;
	while ((length = call(__NR_read, fd, (long)buffer, sizeof(buffer))) > 0)
		call(__NR_write, 1, (long)buffer, length);
	return 0;
}

__attribute__((used)) static void leave(long *stack)
{
	call(__NR_exit_group, start(stack), 0, 0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall leave\n");
#else
__asm__(".globl _start\n_start: mov x0, sp\nbl leave\n");
#endif
