/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the run sets on its TCP sockets, from inside TCP (sockops). */
#ifndef THROTTLE_TCP_H
#define THROTTLE_TCP_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "connect.h"
#include "maps.h"
#include "share.h"

#define TCP_UNPACED_SEGMENTS 10
#define TCP_BURST_US 50000 /* longer than ACKs are delayed (TCP_DELACK_MIN) */
#define TCP_LARGE_BURST 64 /* segments; never larger than 64 KB at once anyway */
#define TCP_NO_BURST (1 << 30)
#define TCP_LONG_RTT_US 2000000
#define TCP_QUEUE_US 100000 /* what the windows may keep waiting in the queue */
#define TCP_HOST_US 5000    /* what hosts may take on top of the path's round trip */
#define TCP_TICK_SHIFT 25   /* 34 ms: as long as TCP may take to raise a clamp */
#define TCP_SMALL_WINDOW 65536

/* Counts the socket as active in a direction, at most once an epoch. */
static __always_inline void tcp_mark_active(struct throttle_socket *socket, enum throttle_direction direction)
{
	struct throttle_share *share = &run.share[direction];

	if (socket->epoch[direction] == share->epoch + 1)
		return;
	if (!socket->epoch[direction])
		__sync_fetch_and_add(&share->sockets, 1);
	socket->epoch[direction] = share->epoch + 1;
	__sync_fetch_and_add(&share->active_now, 1);
}

/*
 * The rate of each of a direction's active sockets, in bytes per second. `even`: what holds the limit is a
 * queue; `lag`: as for share_rate(). A global function: the verifier goes through it once, not again for each
 * way into what follows the call.
 */
__noinline __u64 throttle_share(__u32 direction, bool even, __u64 lag, __u64 now)
{
	const struct throttle_limit *limit = limit_of(direction);
	struct throttle_share *share = &run.share[direction & 1];

	share_roll(share, limit, now);
	if (even)
		return limit->rate / share_active(share);
	return share_rate(share, limit, (__s64)(run.meter[direction & 1].tat - now), lag, now);
}

/*
 * The round trip of a path whose shortest one is known, with what is added to it: that may have come later.
 * Where it varies, the longest counts. A global function, as above.
 */
__noinline __u32 throttle_round_trip(__u32 shortest)
{
	__u32 rtt = shortest < TCP_LONG_RTT_US ? shortest : TCP_LONG_RTT_US;
	__u32 least = run.delay.us - run.delay.jitter_us;

	return rtt + run.delay.jitter_us + (rtt < least ? run.delay.us : run.delay.jitter_us);
}

/*
 * Clamps the congestion window where pacing isn't enough: TCP doesn't pace its first ten segments
 * (tcp_update_skb_after_send()), and on short paths it sends up to 64 KB at once at any rate
 * (tcp_tso_autosize()). Seldom, as the slow start threshold is set with it.
 */
static __always_inline void tcp_clamp_burst(struct bpf_sock_ops *ops, struct throttle_socket *socket,
					    __u64 rate)
{
	__u32 rtt = throttle_round_trip(ops->rtt_min);
	__u32 before = socket->burst, mss = ops->mss_cache;
	__u64 segments;

	if (ops->data_segs_out < TCP_UNPACED_SEGMENTS)
		segments = rate * rtt / 1000000 / mss + 1;
	else
		segments = rate * (2 * rtt + TCP_BURST_US) / 1000000 / mss + 2;
	if (!before && segments >= TCP_LARGE_BURST)
		return;
	if (segments > before - before / 4 && segments < before + before / 4)
		return;
	socket->burst = segments < TCP_NO_BURST ? (__u32)segments : TCP_NO_BURST;
	tcp_set(ops, TCP_LEVEL, TCP_BPF_SNDCWND_CLAMP, socket->burst);
	if (!ops->data_segs_out && segments < TCP_UNPACED_SEGMENTS)
		tcp_set(ops, TCP_LEVEL, TCP_BPF_IW, socket->burst);
}

static __always_inline void tcp_pace(struct bpf_sock_ops *ops, struct throttle_socket *socket)
{
	bool queued = run.queue[THROTTLE_UP].in_use;
	/*
	 * What was open before sends 64 KB at once: clamps don't cut a window that isn't full, and segments
	 * may be as large. How far the schedule is ahead right behind that says nothing.
	 */
	bool even = queued || socket->is_adopted;
	__u64 rate;

	if (!limit_of(THROTTLE_UP)->mult) {
		tcp_unpace(ops, socket);
		return;
	}
	tcp_mark_active(socket, THROTTLE_UP);
	/* TCP calls for a round trip's length once in each (tcp_rtt_estimator()). */
	rate = throttle_share(THROTTLE_UP, even, (ops->srtt_us >> 3) * 1000ULL, bpf_ktime_get_ns());
	/* What others don't use is to be had, too: the queue holds the limit. */
	if (queued)
		rate = rate < limit_of(THROTTLE_UP)->rate / 2 ? 2 * rate : limit_of(THROTTLE_UP)->rate;
	rate = share_pacing_rate(socket->pacing_rate, rate);
	if (rate != socket->pacing_rate) {
		socket->pacing_rate = rate;
		tcp_set(ops, SOCKET_LEVEL, SOCKET_OPTION_MAX_PACING_RATE,
			rate < TCP_UNPACED ? (__u32)rate : TCP_UNPACED);
	}
	if (rate < TCP_UNPACED)
		tcp_clamp_burst(ops, socket, rate);
}

/*
 * For Linux 5.10, where BPF can't clamp windows, only set the buffer, half of which is window. For good: TCP
 * doesn't tune it any more, and it can't be larger than net.core.rmem_max. So not where that may be too
 * little.
 */
static __always_inline void tcp_bound_buffer(struct bpf_sock_ops *ops, struct throttle_socket *socket,
					     __u32 window)
{
	if (!socket->is_bounded && window > TCP_SMALL_WINDOW)
		return;
	socket->is_bounded = 1;
	tcp_set(ops, SOCKET_LEVEL, SOCKET_OPTION_RCVBUF, window);
}

/*
 * Clamps the receive window to what the socket's share needs on its path and, where there is a queue, to what
 * may wait in it. Called before each ACK, as TCP raises the clamp when its receive buffer grows.
 */
static __always_inline void tcp_clamp_window(struct bpf_sock_ops *ops, struct throttle_socket *socket)
{
	bool queued = run.queue[THROTTLE_DOWN].in_use && socket->queued;
	__u32 before = socket->window, least = ops->mss_cache, rtt = throttle_round_trip(ops->rtt_min);
	__u64 now = bpf_ktime_get_ns(), window;
	__u32 tick = (__u32)(now >> TCP_TICK_SHIFT);

	if (!limit_of(THROTTLE_DOWN)->mult) {
		tcp_unclamp(ops, socket);
		return;
	}
	tcp_mark_active(socket, THROTTLE_DOWN);
	window = throttle_share(THROTTLE_DOWN, queued, 0, now);
	if (queued)
		rtt += TCP_QUEUE_US;
	else
		rtt += TCP_HOST_US;
	/* One such as loopback's 64 KB isn't sent whole into such a window, and waits for a delayed ACK. */
	if (least > 2 * SHARE_USUAL_SEGMENT)
		least += least + least / 4;
	window = window >> 32 ? TCP_WINDOW_MAX : window * rtt / 1000000;
	if (window < least)
		window = least;
	if (window > TCP_WINDOW_MAX)
		window = TCP_WINDOW_MAX;
	/* Not at each ACK: before Linux 6.9 that costs what the window grew by (tcp_set_window_clamp()). */
	if (socket->tick == tick && window > before - before / 8 && window < before + before / 8)
		return;
	socket->tick = tick;
	socket->window = (__u32)window;
	if (!tcp_set(ops, TCP_LEVEL, TCP_OPTION_WINDOW_CLAMP, (__u32)window))
		tcp_bound_buffer(ops, socket, (__u32)window);
}

#endif
