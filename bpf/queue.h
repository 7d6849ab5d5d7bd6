/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the programs at devices need to lead packets into a queue. */
#ifndef THROTTLE_QUEUE_H
#define THROTTLE_QUEUE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "throttle.h"

/* Of these programs alone; all other maps are the run's. */
const volatile struct throttle_queue_constants queue SEC(".rodata.queue") = {};
struct throttle_queue_target target SEC(".data.queue") = {};

/*
 * A queue takes frames: without this, what has none would be dropped. On the way back to where it was, the
 * kernel takes it off again.
 */
static __always_inline bool queue_has_frame(struct __sk_buff *skb)
{
	return !queue.has_no_ethernet || !bpf_skb_change_head(skb, ETH_HLEN, 0);
}

#endif
