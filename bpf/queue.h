/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the programs at devices need to lead packets into a queue. */
#ifndef THROTTLE_QUEUE_H
#define THROTTLE_QUEUE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "throttle.h"

/* Of these programs alone; all other maps are the run's. */
const volatile struct throttle_queue_constants queue SEC(".rodata.queue") = {};
struct throttle_queue_target target SEC(".data.queue") = {};

enum {
	FRESH_BYTES = 8192,	  /* an answer of a few packets */
	FRESH_TICKS = 2000,	  /* ms, about: nothing waits as long */
	FRESH_TICK_BITS = 20,	  /* of ns */
	FRESH_LEAST_RATE = 50000, /* in bytes a second: HTB lets the first packet of each class by at once */
};

/*
 * Whether a packet that comes in is one of the first of its flow, or after a rest: it is to overtake those of
 * others, as with fq_codel. None of its own may wait, so a flow that never rests is never fresh again.
 */
static __always_inline bool queue_is_fresh(struct __sk_buff *skb, struct throttle_socket *socket)
{
	__u32 tick;

	if (!target.has_fresh || limit_of(THROTTLE_DOWN)->rate < FRESH_LEAST_RATE)
		return false;
	tick = bpf_ktime_get_ns() >> FRESH_TICK_BITS;
	if (tick - socket->fresh_tick > FRESH_TICKS)
		socket->fresh_bytes = 0;
	socket->fresh_tick = tick;
	if (socket->fresh_bytes > FRESH_BYTES)
		return false;
	socket->fresh_bytes += skb->len;
	return socket->fresh_bytes <= FRESH_BYTES;
}

/*
 * A queue takes frames: without this, what has none would be dropped. On the way back to where it was, the
 * kernel takes it off again.
 */
static __always_inline bool queue_has_frame(struct __sk_buff *skb)
{
	return !queue.has_no_ethernet || !bpf_skb_change_head(skb, ETH_HLEN, 0);
}

#endif
