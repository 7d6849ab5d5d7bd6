/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The budget that a run shares with the others of its group. */
#ifndef THROTTLE_GROUP_H
#define THROTTLE_GROUP_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bucket.h"

struct throttle_group group SEC(".data.group") = {};

static __always_inline const struct throttle_limit *group_limit(enum throttle_direction direction)
{
	return bucket_limit_now(&group.limits, direction);
}

/* Whether the group's schedule is so far behind its burst that a packet may pass at time `now`. */
static __always_inline bool group_has_room(enum throttle_direction direction, __u64 now)
{
	const struct throttle_budget *budget = &group.budget[direction];

	return !group_limit(direction)->mult || (__s64)(budget->tat - now) <= (__s64)budget->burst_ns;
}

/* Whether it is beyond half of that. */
static __always_inline bool group_is_near(enum throttle_direction direction, __u64 now)
{
	const struct throttle_budget *budget = &group.budget[direction];

	return group_limit(direction)->mult && (__s64)(budget->tat - now) > (__s64)(budget->burst_ns / 2);
}

/* Charges a packet that passes. */
static __always_inline void group_charge(enum throttle_direction direction, __u64 now, __u32 bytes)
{
	const struct throttle_limit *limit = group_limit(direction);

	if (limit->mult)
		bucket_admit(&group.budget[direction].tat, now, bucket_cost(limit, bytes), BUCKET_ALWAYS);
}

#endif
