/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What must be set, or taken back, before a TCP connection is made, from inside TCP (sockops). */
#ifndef THROTTLE_CONNECT_H
#define THROTTLE_CONNECT_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "share.h"
#include "source.h"

/* From linux/in.h, asm-generic/socket.h and linux/tcp.h, which can't all be had for BPF. */
enum {
	TCP_LEVEL = 6,
	TCP_OPTION_MAXSEG = 2,
	TCP_OPTION_SYNCNT = 7,
	TCP_OPTION_WINDOW_CLAMP = 10,
	SOCKET_LEVEL = 1,
	SOCKET_OPTION_RCVBUF = 8,
	SOCKET_OPTION_MAX_PACING_RATE = 47,
};

/* What TCP calls throttle_tcp() for, also where there is no limit yet. */
#define TCP_CALLBACKS \
	(BPF_SOCK_OPS_RETRANS_CB_FLAG | BPF_SOCK_OPS_RTT_CB_FLAG | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG)

#define TCP_UNPACED 0xffffffffU	 /* BPF sets 32 bits of the rate: from 4 GB/s on nothing is paced */
#define TCP_WINDOW_MAX (1 << 30) /* RFC 7323 2.3 */
#define TCP_UNCLAMPED 0x7fffffff /* TCP_INFINITE_SSTHRESH: the slow start threshold is set with the clamp */
#define TCP_LARGEST_BUFFER 0x3fffffff /* net.core.rmem_max at most; it is doubled, in an int */
#define TCP_USUAL_RETRIES 6	      /* net.ipv4.tcp_syn_retries: some two minutes from 1 s on */
#define TCP_SOON_RETRIES 15	      /* the same from 4 ms on */

static __always_inline bool tcp_set(struct bpf_sock_ops *ops, int level, int option, __u32 value)
{
	return bpf_setsockopt(ops, level, option, &value, sizeof(value)) == 0;
}

/* A rate for what can't be changed later: of a run that gives way, the present one says nothing. */
static __always_inline __u64 tcp_lasting_rate(enum throttle_direction direction)
{
	return constants.is_timed ? run.asked[direction] : limit_of(direction)->rate;
}

/* Keeps segments so small that one of them isn't long in the way: loopback's are 64 KB. */
static __always_inline void tcp_bound_segments(struct bpf_sock_ops *ops)
{
	/* Less 1, as 0 means unlimited. */
	__u64 down = tcp_lasting_rate(THROTTLE_DOWN) - 1, up = tcp_lasting_rate(THROTTLE_UP) - 1;
	__u64 rate = down < up ? down : up;
	__u64 bytes = share_segment(rate);

	if (bytes < rate / 1000)
		bytes = rate / 1000;
	/* What a sender begins with is so many segments: of a slow network's own size where one is asked for.
	 */
	if (run.delay.us && bytes < SHARE_USUAL_SEGMENT)
		bytes = SHARE_USUAL_SEGMENT;
	/* MAX_TCP_WINDOW, the largest that TCP_MAXSEG takes. */
	if (bytes <= 32767)
		tcp_set(ops, TCP_LEVEL, TCP_OPTION_MAXSEG, (__u32)bytes);
}

/* `network`: as in struct throttle_socket; 0 of one that was asked for, which had no socket then. */
static __always_inline __u32 tcp_source(struct bpf_sock_ops *ops, __u64 network)
{
	__u32 address = ops->local_ip4, peer = ops->remote_ip4;

	if (ops->family == ADDRESS_FAMILY_IPV6) {
		address = ops->local_ip6[0] ^ ops->local_ip6[1] ^ ops->local_ip6[2] ^ ops->local_ip6[3];
		peer = ops->remote_ip6[0] ^ ops->remote_ip6[1] ^ ops->remote_ip6[2] ^ ops->remote_ip6[3];
	}
	return source_hash(address, peer, network);
}

/*
 * Has TCP try a first packet that is held again soon, not after a second. Only where it may be held: else
 * every connection on a long path would be begun several times.
 */
static __always_inline void tcp_retry_soon(struct bpf_sock_ops *ops)
{
	struct throttle_socket *socket = ops->sk ? bpf_sk_storage_get(&sockets, ops->sk, 0, 0) : NULL;

	if (source_is_known(tcp_source(ops, socket ? socket->network : 0)))
		return;
	/* The answer to one that is asked for is tried so often that it takes a second in all. */
	if (!socket) {
		ops->reply = 4 * constants.retry;
		return;
	}
	/* MPTCP takes a first packet that is tried three times for blocked, and falls back to TCP
	 * (Linux 6.12). */
	if (socket->is_kernels)
		return;
	socket->retries_soon = 1;
	/* The time doubles with all but the first few, so that more of them are needed until TCP gives up. */
	tcp_set(ops, TCP_LEVEL, TCP_OPTION_SYNCNT, TCP_SOON_RETRIES);
	ops->reply = constants.retry;
}

/* Keeps in mind where a connection came from that has been made. */
static __always_inline void tcp_note_source(struct bpf_sock_ops *ops)
{
	struct throttle_socket *socket = ops->sk ? bpf_sk_storage_get(&sockets, ops->sk, 0, 0) : NULL;
	bool is_active = ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;

	if (!socket || !run.learns[THROTTLE_DOWN])
		return;
	source_note(tcp_source(ops, is_active ? socket->network : 0));
	if (!is_active || !socket->retries_soon)
		return;
	socket->retries_soon = 0;
	tcp_set(ops, TCP_LEVEL, TCP_OPTION_SYNCNT, TCP_USUAL_RETRIES);
}

/* Keeps what comes before the first callback within the burst. */
static __always_inline void tcp_bound_first_window(struct bpf_sock_ops *ops)
{
	/* On a path that is long, as was asked for, as much is under way. */
	__u64 rate = limit_of(THROTTLE_DOWN)->rate, bytes = rate / 20 + rate / 1000 * (run.delay.us / 1000);
	__u64 segments = bytes / SHARE_USUAL_SEGMENT;

	if (limit_of(THROTTLE_DOWN)->mult && segments < 64)
		ops->reply = segments < 2 ? 2 : (__u32)segments;
}

/*
 * Takes back what tcp.h set on a socket for its uploads. Only sk_pacing_status stays: TCP goes on pacing, at
 * a rate of its own that is above what its window gives.
 */
static __always_inline void tcp_unpace(struct bpf_sock_ops *ops, struct throttle_socket *socket)
{
	if (socket->pacing_rate)
		tcp_set(ops, SOCKET_LEVEL, SOCKET_OPTION_MAX_PACING_RATE, TCP_UNPACED);
	if (socket->burst)
		tcp_set(ops, TCP_LEVEL, TCP_BPF_SNDCWND_CLAMP, TCP_UNCLAMPED);
	socket->pacing_rate = 0;
	socket->burst = 0;
}

/* The same for its downloads: TCP raises the window again. */
static __always_inline void tcp_unclamp(struct bpf_sock_ops *ops, struct throttle_socket *socket)
{
	if (socket->window)
		tcp_set(ops, TCP_LEVEL, TCP_OPTION_WINDOW_CLAMP, TCP_WINDOW_MAX);
	socket->window = 0;
	/* Linux 5.10 only. That the buffer isn't tuned any more can't be taken back. */
	if (socket->is_bounded)
		tcp_set(ops, SOCKET_LEVEL, SOCKET_OPTION_RCVBUF, TCP_LARGEST_BUFFER);
	socket->is_bounded = 0;
}

/* Takes back all that tcp.h set on it and tcp_disconnect() keeps. */
static __always_inline void tcp_unlimit(struct bpf_sock_ops *ops, struct throttle_socket *socket)
{
	tcp_unpace(ops, socket);
	tcp_unclamp(ops, socket);
}

#endif
