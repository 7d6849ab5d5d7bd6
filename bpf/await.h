/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Keeps the sender of a datagram busy until there is a queue, and its buffer is bounded, or for a while: it
 * may have millions of them, which nothing can keep without the one, and would wait for seconds without the
 * other.
 */
#ifndef THROTTLE_AWAIT_H
#define THROTTLE_AWAIT_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"

#define AWAIT_EARLY 8 /* packets that may wait unbounded */

/* Whether the guard has yet to bound the buffer of a sender. */
static __always_inline bool await_is_behind(void)
{
	return run.queue[THROTTLE_UP].senders != run.queue[THROTTLE_UP].bounded;
}

#ifdef THROTTLE_NO_LOOP

/* Before Linux 5.17 there is no bpf_loop(). */
#define await_queue(now) ((void)(now))

#else

#define AWAIT_NS 5000000
#define AWAIT_LOOKS 131072 /* more than there are in that time */

static long await_is_over(__u32 look, void *end)
{
	(void)look;
	return (!run.queue[THROTTLE_UP].is_awaited && !await_is_behind()) ||
	       bpf_ktime_get_ns() > *(__u64 *)end;
}

static __always_inline void await_queue(__u64 now)
{
	__u64 end = now + AWAIT_NS;

	bpf_loop(AWAIT_LOOKS, await_is_over, &end, 0);
}

#endif

#endif
