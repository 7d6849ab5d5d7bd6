/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The table of the devices that the run's packets pass. */
#ifndef THROTTLE_DEVICE_H
#define THROTTLE_DEVICE_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"

#define DEVICE_PROBES 4
#define SOCKET_RAW 3 /* from bits/socket_type.h, which can't be had for BPF */

/* Wakes the guard, which sleeps while nothing moves. Where CPUs race here, it is told twice. */
static __always_inline void wake_guard(void)
{
	struct throttle_event event = {};

	run.asleep = 0;
	bpf_ringbuf_output(&alarm, &event, sizeof(event), 0);
}

/*
 * What a packet's socket carries; NULL where that isn't one of the run's. With `waits` also of one whose
 * sender wouldn't wait for room: a raw socket's has an error instead.
 */
static __always_inline struct throttle_socket *device_socket(struct __sk_buff *skb, bool waits)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || (waits && sk->type == SOCKET_RAW))
		return NULL;
	return bpf_sk_storage_get(&sockets, sk, 0, 0);
}

/* Whether a packet is a segment of TCP's, which may be refused without a loss: TCP keeps it, and tries again.
 */
static __always_inline bool device_is_tcp(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk && bpf_tcp_sock(sk);
}

/*
 * The place of a device in a table: its own, or one that is free; negative where there is no room for it. A
 * global function: the verifier goes through it once, not again for each way into what follows the call.
 */
__noinline int throttle_place(__u32 direction, __u32 index, __u64 network)
{
#pragma clang loop unroll(disable)
	for (__u32 probe = 0; probe < DEVICE_PROBES; probe++) {
		__u32 place = (index + probe) % THROTTLE_DEVICES;
		const struct throttle_device *device = &run.devices[direction & 1][place];

		if (device->state == THROTTLE_DEVICE_NONE ||
		    (device->index == index && device->network == network))
			return place;
	}
	return -1;
}

/* That place; NULL where there is none. */
static __always_inline struct throttle_device *device_place(enum throttle_direction direction, __u64 network,
							    __u32 index)
{
	int place = throttle_place(direction, index, network);

	return place < 0 ? NULL : &run.devices[direction][place % THROTTLE_DEVICES];
}

#endif
