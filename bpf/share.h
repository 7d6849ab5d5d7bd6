/* SPDX-License-Identifier: MIT */
/*
 * The fair share: the rate that every socket of a run may use in one direction, so that all together fill the
 * limit. One rate for all of them is max-min fair, and what a socket doesn't use raises it for the others:
 *
 *	rate = limit / active sockets * gain * (1 + error / 2)
 *
 * The error is how far the bucket's schedule is from where it should be, which is the exact integral of what
 * went wrong so far; the gain follows it slowly (a PI controller). Idle sockets aren't active: they cost
 * nothing.
 */
#ifndef THROTTLE_SHARE_H
#define THROTTLE_SHARE_H

#include <stdbool.h>

#include "throttle.h"

#define SHARE_ONE 1024 /* 1.0 of gains and errors */
#define SHARE_MIN_GAIN (SHARE_ONE / 4)
#define SHARE_STEP_NS 10000000ULL
#define SHARE_EPOCH_NS 250000000ULL
#define SHARE_MAX_ROUND_NS (1ULL << 50) /* twelve days; the products with SHARE_ONE stay below 2^63 */
#define SHARE_MIN_RATE 16		/* bytes per second: 0 would mean not paced at all */
#define SHARE_USUAL_SEGMENT 1448
#define SHARE_MIN_SEGMENT 536

/* Sockets that were active in this epoch or the last one; at least 1. */
THROTTLE_INLINE __u32 share_active(const struct throttle_share *share)
{
	__u32 before = share->active_before, now = share->active_now;
	__u32 most = before > now ? before : now;

	return most ? most : 1;
}

/* How large segments may be, so that one of them isn't long in the way, in bytes of payload. */
THROTTLE_INLINE __u64 share_segment(__u64 rate)
{
	__u64 bytes = rate / 100;

	if (bytes > SHARE_USUAL_SEGMENT)
		bytes = SHARE_USUAL_SEGMENT;
	return bytes < SHARE_MIN_SEGMENT ? SHARE_MIN_SEGMENT : bytes;
}

/*
 * Time that the limit takes for what a socket sends at once, in ns: TCP's smallest burst is two segments
 * (tcp_output.c, tcp_tso_autosize()).
 */
THROTTLE_INLINE __u64 share_turn(const struct throttle_limit *limit)
{
	return (2 * share_segment(limit->rate) * limit->mult) >> limit->shift;
}

/* Time in which each active socket has its turn at the limit, in ns. */
THROTTLE_INLINE __u64 share_round(const struct throttle_limit *limit, __u32 active)
{
	__u64 turn = share_turn(limit);

	return turn > SHARE_MAX_ROUND_NS / active ? SHARE_MAX_ROUND_NS : turn * active;
}

/*
 * Starts a new epoch when it is time. An epoch is so long that every socket that is busy at the limit has
 * several turns in it. Where CPUs race, the counts of one epoch are off.
 */
THROTTLE_INLINE void share_roll(struct throttle_share *share, const struct throttle_limit *limit, __u64 now)
{
	__u64 age = now - share->epoch_ns;
	__u64 length = SHARE_EPOCH_NS + 4 * share_round(limit, share_active(share));

	if (age < length)
		return;
	share->active_before = age < 2 * length ? share->active_now : 0;
	share->active_now = 0;
	share->epoch_ns = now;
	share->epoch++;
}

/*
 * How far the schedule's `lead` over the clock is below its target, from SHARE_ONE to -SHARE_ONE. Where all
 * sockets together have several turns in a burst, that is where packets are refused; where turns are longer,
 * the lead jumps by them, and says little at one time. Nor must it where a correction only comes after a
 * `lag`, in ns: what the lead changes by meanwhile isn't to be more than what it is corrected by.
 */
THROTTLE_INLINE __s64 share_error(const struct throttle_limit *limit, __u32 active, __s64 lead, __u64 lag)
{
	__u64 round = share_round(limit, active), half = limit->burst_ns / 2;
	__u64 target = half / 2 + (round < half / 2 ? round : half / 2);
	__u64 width = half + (round > half ? 4 * (round - half) : 0);
	__u64 distance;

	if (width < lag)
		width = lag;
	if (lead < 0)
		lead = 0;
	/* BPF divides only unsigned numbers before -mcpu=v4. */
	distance = (__u64)lead > target ? (__u64)lead - target : target - (__u64)lead;
	distance = distance > width ? SHARE_ONE : distance * SHARE_ONE / width;
	return (__u64)lead > target ? -(__s64)distance : (__s64)distance;
}

/* Corrects the gain for an error of `elapsed` ns. It doubles in a span where the limit is `unused`. */
THROTTLE_INLINE __u64 share_gain(const struct throttle_limit *limit, __u32 active, __u64 gain, __s64 error,
				 bool unused, __u64 elapsed)
{
	__u64 span = limit->burst_ns + 4 * share_round(limit, active);
	__u64 part = elapsed >= span ? SHARE_ONE : elapsed * SHARE_ONE / span;

	if (!gain)
		gain = SHARE_ONE;
	if (unused)
		gain += gain * part / SHARE_ONE;
	else if (error >= 0)
		gain += gain * (__u64)error * part / (8 * SHARE_ONE * SHARE_ONE);
	else
		gain -= gain * (__u64)-error * part / (2 * SHARE_ONE * SHARE_ONE);
	return gain < SHARE_MIN_GAIN ? SHARE_MIN_GAIN : gain;
}

/*
 * The rate of each active socket, in bytes per second. `lead`: ns that the schedule is ahead of the clock,
 * negative when idle. `lag`: ns until the socket is told of its rate again. Corrects the gain too, once a
 * step.
 */
THROTTLE_INLINE __u64 share_rate(struct throttle_share *share, const struct throttle_limit *limit, __s64 lead,
				 __u64 lag, __u64 now)
{
	__u32 active = share_active(share);
	/* It is read when a socket has just had its turn: where that is all, nothing else is scheduled. */
	__s64 others = lead - (__s64)share_turn(limit);
	__s64 error = share_error(limit, active, others, lag);
	__u64 elapsed = now - share->stepped_ns;
	__u64 gain = share->gain, rate = limit->rate / active;

	if (elapsed >= SHARE_STEP_NS) {
		gain = share_gain(limit, active, gain, error, others <= 0, elapsed);
		share->stepped_ns = now;
		share->gain = gain;
		if (error < SHARE_ONE / 2)
			share->limited = 1;
	}
	/* Alone with the limit, a socket can't use more; and fewer may be active than at the last step. */
	if (gain > (__u64)active * SHARE_ONE)
		share->gain = gain = (__u64)active * SHARE_ONE;
	gain = gain * (__u64)(2 * SHARE_ONE + error) / (2 * SHARE_ONE);
	rate = rate >> 40 ? rate / SHARE_ONE * gain : rate * gain / SHARE_ONE;
	return rate < SHARE_MIN_RATE ? SHARE_MIN_RATE : rate;
}

/* What a socket is to be paced to where its share is `rate`, and it is paced to `before` (0: not yet). */
THROTTLE_INLINE __u64 share_pacing_rate(__u64 before, __u64 rate)
{
	__u64 change = rate < before ? before - rate : rate - before;

	/* Others may come with it, and only a round trip later is it told of them. */
	if (!before)
		return rate / 2;
	return change < before / 64 ? before : rate;
}

#endif
