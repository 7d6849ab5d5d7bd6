/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which devices the run's packets pass. The guard is told of each new one, and leads what comes in there to a
 * queue: so none is touched that the run doesn't use.
 */
#ifndef THROTTLE_DEVICE_H
#define THROTTLE_DEVICE_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"

#define DEVICE_PROBES 4
#define DEVICE_PATIENCE_NS 1000000000 /* for a guard that doesn't get on */

/* Wakes the guard, which sleeps while nothing moves. Where CPUs race here, it is told twice. */
static __always_inline void wake_guard(void)
{
	struct throttle_event event = {};

	run.asleep = 0;
	bpf_ringbuf_output(&alarm, &event, sizeof(event), 0);
}

/* The network namespace of a packet's socket, as in struct throttle_socket. */
static __always_inline __u64 device_network(struct __sk_buff *skb)
{
	struct throttle_socket *socket;
	struct bpf_sock *sk = skb->sk;

	if (!run.has_strangers || !sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	socket = bpf_sk_storage_get(&sockets, sk, 0, 0);
	return socket ? socket->network : 0;
}

/* Claims a free place in the table. */
static __always_inline bool device_claim(struct throttle_device *device)
{
#ifdef THROTTLE_NO_CMPXCHG
	device->state = THROTTLE_DEVICE_NEW;
	return true;
#else
	return __sync_val_compare_and_swap(&device->state, THROTTLE_DEVICE_NONE, THROTTLE_DEVICE_NEW) ==
	       THROTTLE_DEVICE_NONE;
#endif
}

static __always_inline void device_tell(struct throttle_device *device, __u64 network, __u32 index)
{
	struct throttle_event event = {.network = network, .device = index};

	if (!device_claim(device))
		return;
	device->network = network;
	device->since_ns = bpf_ktime_get_ns();
	device->index = index;
	/* Where there is no room for it, the next packet tries again. */
	if (bpf_ringbuf_output(&alarm, &event, sizeof(event), 0))
		device->state = THROTTLE_DEVICE_NONE;
}

/*
 * Whether all is done that can be for packets of the device that this one passes; if not, the guard is told.
 * A global function: the verifier goes through it once, not again for each way into what follows the call.
 */
__noinline int throttle_settled(struct __sk_buff *skb)
{
	__u64 network = device_network(skb);
	__u32 index = skb->ifindex;
	struct throttle_device *device;

#pragma clang loop unroll(disable)
	for (__u32 probe = 0; probe < DEVICE_PROBES; probe++) {
		device = &run.devices[(index + probe) % THROTTLE_DEVICES];
		if (device->state == THROTTLE_DEVICE_NONE) {
			device_tell(device, network, index);
			return false;
		}
		if (device->index == index && device->network == network)
			return device->state == THROTTLE_DEVICE_SETTLED ||
			       bpf_ktime_get_ns() - device->since_ns > DEVICE_PATIENCE_NS;
	}
	/* More devices than there is room for: police holds the limits there. */
	return true;
}

/* Whether that is so, told as cheaply as can be in the usual case; false where it can't be told so. */
static __always_inline bool device_needs_nothing(struct __sk_buff *skb)
{
	const struct throttle_device *device = &run.devices[skb->ifindex % THROTTLE_DEVICES];

	return !run.learns || (!run.has_strangers && device->index == skb->ifindex &&
			       device->state == THROTTLE_DEVICE_SETTLED);
}

#endif
