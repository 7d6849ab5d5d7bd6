/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What must be set before a TCP connection is made, from inside TCP (sockops). */
#ifndef THROTTLE_CONNECT_H
#define THROTTLE_CONNECT_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "share.h"

/* From linux/in.h, asm-generic/socket.h and linux/tcp.h, which can't all be had for BPF. */
enum {
	TCP_LEVEL = 6,
	TCP_OPTION_MAXSEG = 2,
	TCP_OPTION_WINDOW_CLAMP = 10,
	SOCKET_LEVEL = 1,
	SOCKET_OPTION_RCVBUF = 8,
	SOCKET_OPTION_MAX_PACING_RATE = 47,
};

static __always_inline bool tcp_set(struct bpf_sock_ops *ops, int level, int option, __u32 value)
{
	return bpf_setsockopt(ops, level, option, &value, sizeof(value)) == 0;
}

/* Keeps segments so small that one of them isn't long in the way: loopback's are 64 KB. */
static __always_inline void tcp_bound_segments(struct bpf_sock_ops *ops)
{
	/* Less 1, as 0 means unlimited. */
	__u64 down = limit_of(THROTTLE_DOWN)->rate - 1, up = limit_of(THROTTLE_UP)->rate - 1;
	__u64 rate = down < up ? down : up;
	__u64 bytes = share_segment(rate);

	if (bytes < rate / 1000)
		bytes = rate / 1000;
	/* MAX_TCP_WINDOW, the largest that TCP_MAXSEG takes. */
	if (bytes <= 32767)
		tcp_set(ops, TCP_LEVEL, TCP_OPTION_MAXSEG, (__u32)bytes);
}

/* Keeps what comes before the first callback within the burst. */
static __always_inline void tcp_bound_first_window(struct bpf_sock_ops *ops)
{
	__u64 segments = limit_of(THROTTLE_DOWN)->rate / 20 / SHARE_USUAL_SEGMENT;

	if (limit_of(THROTTLE_DOWN)->mult && segments < 64)
		ops->reply = segments < 2 ? 2 : (__u32)segments;
}

#endif
