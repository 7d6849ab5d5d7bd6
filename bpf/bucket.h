/* SPDX-License-Identifier: MIT */
/*
 * The token bucket as a virtual schedule (GCRA, ITU-T I.371): its whole state is the time at which the
 * next packet would be due at exactly the limit. A packet passes while that schedule is at most `burst`
 * ahead of the clock and is then charged whole, so a packet larger than the burst passes into debt
 * instead of waiting forever. Over any time T a lone CPU passes at most rate * (T + burst) + one packet.
 */
#ifndef THROTTLE_BUCKET_H
#define THROTTLE_BUCKET_H

#include <stdbool.h>

#include "throttle.h"

/*
 * Packets stay below 2^22 bytes (BIG TCP: 2^19 and headers), so their product with a mult below 2^41, and
 * what rounding adds to it, stay below 2^64.
 */
#define BUCKET_MULT_BITS 41
#define BUCKET_MAX_SHIFT 62
#define BUCKET_ALWAYS (~0ULL >> 1) /* a burst that nothing is beyond */

/* What a direction may do now. */
THROTTLE_INLINE const struct throttle_limit *bucket_limit_now(const struct throttle_limits *limits,
							      enum throttle_direction direction)
{
	return &limits->slots[limits->slot & 1][direction & 1];
}

/* Nanoseconds that `bytes` take at the limit, rounded up so that rounding never lets more through. */
THROTTLE_INLINE __u64 bucket_cost(const struct throttle_limit *limit, __u32 bytes)
{
	return (bytes * limit->mult + ((1ULL << limit->shift) - 1)) >> limit->shift;
}

/*
 * Says whether a packet of `cost` ns passes at time `now`, and charges it if so. Wait-free: CPUs that
 * race here may each pass the packet in their hands, and every one of them is charged.
 */
THROTTLE_INLINE bool bucket_admit(__u64 *tat, __u64 now, __u64 cost, __u64 burst_ns)
{
	__u64 due = *(volatile __u64 *)tat;

	if ((__s64)(due - now) > (__s64)burst_ns)
		return false;
	if (due < now) {
		/* Idle until now: the schedule restarts here, so idle time earns no more than the burst. */
#ifdef THROTTLE_NO_CMPXCHG
		/* BPF has no cmpxchg before 5.12, on arm64 5.18: two CPUs that race here charge one packet,
		 * not two. */
		*(volatile __u64 *)tat = now + cost;
		return true;
#else
		if (__sync_val_compare_and_swap(tat, due, now + cost) == due)
			return true;
#endif
	}
	__sync_fetch_and_add(tat, cost);
	return true;
}

#ifndef __bpf__
/* The limit of `rate` bytes per second (1 to 2^63 - 1; 0: not limited) with a burst of `burst_ns`. */
static inline struct throttle_limit bucket_limit(__u64 rate, __u64 burst_ns, bool count_wire)
{
	struct throttle_limit limit = {.rate = rate, .burst_ns = burst_ns, .count_wire = count_wire};
	unsigned __int128 mult = 0;

	if (rate == 0)
		return limit;
	for (__u32 shift = 0; shift <= BUCKET_MAX_SHIFT; shift++) {
		unsigned __int128 finer = (((unsigned __int128)1000000000 << shift) + rate - 1) / rate;

		if (finer >> BUCKET_MULT_BITS)
			break;
		mult = finer;
		limit.shift = shift;
	}
	limit.mult = (__u64)mult;
	return limit;
}

/*
 * Keeps a debt the same in bytes where the rate rises: of minutes at the old one, seconds are left. Where it
 * falls, it stays as long as it was.
 */
static inline void bucket_convert_debt(__u64 *tat, __u64 before, __u64 after, __u64 now)
{
	if (*tat > now && (!after || after > before))
		*tat = now + (after ? (__u64)((unsigned __int128)(*tat - now) * before / after) : 0);
}

/* Changes the limits of both directions, whose schedules are at `down_tat` and `up_tat`, from the next packet
 * on. */
static inline void bucket_change(struct throttle_limits *limits, struct throttle_limit down,
				 struct throttle_limit up, __u64 *down_tat, __u64 *up_tat, __u64 now)
{
	const struct throttle_limit *before = limits->slots[limits->slot & 1];
	__u32 other = 1 - (limits->slot & 1);

	limits->slots[other][THROTTLE_DOWN] = down;
	limits->slots[other][THROTTLE_UP] = up;
	/* Seen by other CPUs before the slot is. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	limits->slot = other;
	bucket_convert_debt(down_tat, before[THROTTLE_DOWN].rate, down.rate, now);
	bucket_convert_debt(up_tat, before[THROTTLE_UP].rate, up.rate, now);
}
#endif

#endif
