/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Learns which devices the run's packets pass. The guard is told of each new one, and leads what comes in
 * there, or goes out and can't be paced, to a queue: so none is touched that the run doesn't use.
 */
#ifndef THROTTLE_LEARN_H
#define THROTTLE_LEARN_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "await.h"
#include "device.h"
#include "group.h"
#include "maps.h"

#define LEARN_PATIENCE_NS 1000000000 /* for a guard that doesn't get on */
/* Uploads that may be under way to the program at their device: more may wait for a neighbour's address. */
#define LEARN_MOST_UNSEEN 256
/* What senders may have waiting in the queue: where it is more, something passes it by. */
#define LEARN_LONGEST_QUEUE_NS 10000000000

/* The network namespace of a packet's socket, as in struct throttle_socket. */
static __always_inline __u64 learn_network(struct __sk_buff *skb)
{
	struct throttle_socket *socket = run.has_strangers ? device_socket(skb, false) : NULL;

	return socket ? socket->network : 0;
}

/* Claims a free place in the table. */
static __always_inline bool learn_claim(struct throttle_device *device)
{
#ifdef THROTTLE_NO_CMPXCHG
	device->state = THROTTLE_DEVICE_NEW;
	return true;
#else
	return __sync_val_compare_and_swap(&device->state, THROTTLE_DEVICE_NONE, THROTTLE_DEVICE_NEW) ==
	       THROTTLE_DEVICE_NONE;
#endif
}

static __always_inline void learn_tell(struct throttle_device *device, enum throttle_direction direction,
				       __u64 network, __u32 index)
{
	struct throttle_event event = {.network = network, .device = index, .direction = direction};

	if (!learn_claim(device))
		return;
	device->network = network;
	device->unseen = 0;
	device->since_ns = bpf_ktime_get_ns();
	device->index = index;
	if (direction == THROTTLE_UP)
		run.queue[THROTTLE_UP].is_awaited = 1;
	/* Where there is no room for it, the next packet tries again. */
	if (bpf_ringbuf_output(&alarm, &event, sizeof(event), 0))
		device->state = THROTTLE_DEVICE_NONE;
}

/*
 * Whether all is done that can be for downloads by the device that the packet passes; if not, the guard is
 * told. A global function: the verifier goes through it once, not again for each way into what follows the
 * call.
 */
__noinline int throttle_settled(struct __sk_buff *skb)
{
	__u64 network = learn_network(skb);
	__u32 index = skb->ifindex;
	struct throttle_device *device = device_place(THROTTLE_DOWN, network, index);

	/* More devices than there is room for: police holds the limits there. */
	if (!device)
		return true;
	if (device->state == THROTTLE_DEVICE_NONE) {
		learn_tell(device, THROTTLE_DOWN, network, index);
		return false;
	}
	return device->state == THROTTLE_DEVICE_SETTLED ||
	       bpf_ktime_get_ns() - device->since_ns > LEARN_PATIENCE_NS;
}

enum learn_way {
	LEARN_POLICED = 0,
	LEARN_LEADS = 1,
	LEARN_EARLY = 2, /* its sender has sent much while the guard had to bound buffers */
};

/*
 * Whether the packet will be led to a queue at its device (enum learn_way); the guard is told of one that
 * doesn't so yet. A global function, as above.
 */
__noinline int throttle_leads(struct __sk_buff *skb)
{
	struct throttle_socket *socket = device_socket(skb, true);
	struct throttle_device *device;
	__u32 index = skb->ifindex;

	if (!socket)
		return LEARN_POLICED;
	device = device_place(THROTTLE_UP, socket->network, index);
	if (!device)
		return LEARN_POLICED;
	if (device->state == THROTTLE_DEVICE_NONE)
		learn_tell(device, THROTTLE_UP, socket->network, index);
	/* Somebody may have taken the program there away, or killed the guard, with which it goes. */
	if (device->state != THROTTLE_DEVICE_LEADS || device->unseen > LEARN_MOST_UNSEEN)
		return LEARN_POLICED;
	device->unseen++;
	if (skb->gso_segs <= 1 && socket->largest < skb->len)
		socket->largest = skb->len;
	if (await_is_behind())
		socket->early++;
	return socket->early > AWAIT_EARLY && await_is_behind() ? LEARN_EARLY : LEARN_LEADS;
}

/*
 * How far the schedule may be ahead of the clock for an upload to pass: at any distance where a queue holds
 * it. There is none before what pacing can't reach needs one, which is asked for while there is still room
 * for what comes until it is made. Then TCP waits, and leaves room for what can't, which may borrow some for
 * that time. A global function, as above.
 */
__noinline __u64 throttle_most(struct __sk_buff *skb, __u64 now)
{
	__u64 burst = limit_of(THROTTLE_UP)->burst_ns;
	__s64 lead = run.meter[THROTTLE_UP].tat - now;
	bool is_near = lead > (__s64)(burst / 2);
	bool is_tcp;
	int way;

	if (constants.grouped && group_is_near(THROTTLE_UP, now))
		is_near = true;
	if (!run.queue[THROTTLE_UP].in_use && !is_near)
		return burst;
	is_tcp = device_is_tcp(skb);
	way = run.queue[THROTTLE_UP].in_use || !is_tcp ? throttle_leads(skb) : LEARN_POLICED;
	if (way == LEARN_POLICED && !run.queue[THROTTLE_UP].is_awaited)
		return burst;
	if (way == LEARN_POLICED && is_tcp)
		return burst / 4;
	if (!is_tcp && (way == LEARN_EARLY || (way == LEARN_POLICED && lead > (__s64)burst)))
		await_queue(now);
	if (way != LEARN_POLICED)
		return lead < LEARN_LONGEST_QUEUE_NS ? BUCKET_ALWAYS : burst;
	/* By now there may be one. */
	return run.queue[THROTTLE_UP].in_use && !run.queue[THROTTLE_UP].is_awaited ? BUCKET_ALWAYS
										   : 2 * burst;
}

/* Whether throttle_settled(), told as cheaply as can be in the usual case; false where it can't be told so.
 */
static __always_inline bool learns_nothing(struct __sk_buff *skb)
{
	const struct throttle_device *device = &run.devices[THROTTLE_DOWN][skb->ifindex % THROTTLE_DEVICES];

	return !run.learns[THROTTLE_DOWN] || (!run.has_strangers && device->index == skb->ifindex &&
					      device->state == THROTTLE_DEVICE_SETTLED);
}

#endif
