/* SPDX-License-Identifier: MIT */
/*
 * The memory that a run's BPF programs and user space share: one value of struct throttle_run in the
 * mmapable map ".data.run". Read by clang -target bpf, the host's C compiler and Swift alike.
 */
#ifndef THROTTLE_H
#define THROTTLE_H

#include <linux/types.h>

#define THROTTLE_CACHE_LINE 64

/* BPF has no calls that return or take structs by value; everything shared is inlined. */
#define THROTTLE_INLINE static inline __attribute__((always_inline))

/* Directions as the command sees them; indexes of every array below. */
enum throttle_direction {
	THROTTLE_DOWN = 0, /* ingress */
	THROTTLE_UP = 1,   /* egress */
	THROTTLE_DIRECTIONS = 2,
};

/* What one direction may do. Written by user space; make one with bucket_limit() of bucket.h. */
struct throttle_limit {
	__u64 rate;	/* bytes per second; 0: not limited. The programs use what follows */
	__u64 mult;	/* nanoseconds per byte, fixed point with `shift` fraction bits; 0: not limited */
	__u64 burst_ns; /* how far the schedule may be ahead of the clock before packets are dropped */
	__u32 shift;
	__u32 count_wire; /* 0: payload bytes are charged; 1: layer 2 frames */
};

/*
 * What one direction did. Written by the programs with atomic adds, so the counters are exact across
 * CPUs. All of a packet's writes fall into this one cache line.
 */
struct throttle_meter {
	__u64 tat; /* theoretical arrival time of the next packet, CLOCK_MONOTONIC ns (GCRA) */
	__u64 passed_packets;
	__u64 passed_payload_bytes;
	__u64 passed_wire_bytes;
	__u64 dropped_packets;
	__u64 dropped_payload_bytes;
	__u64 first_ns; /* CLOCK_MONOTONIC of the first packet that was charged; 0: none yet */
	__u64 last_ns;	/* of the last one */
};

/* What the parent's program saw of the same traffic: proof that the run's own programs execute. */
struct throttle_witness {
	__u64 packets;
	__u64 bytes; /* from the network header on */
};

struct throttle_run {
	struct throttle_limit limit[THROTTLE_DIRECTIONS];
	struct throttle_meter meter[THROTTLE_DIRECTIONS];
	struct throttle_witness witness[THROTTLE_DIRECTIONS];
};

/* Not by an alignment attribute: Swift can't import such a struct. */
_Static_assert(sizeof(struct throttle_limit[THROTTLE_DIRECTIONS]) == THROTTLE_CACHE_LINE,
	       "meters start a line");
_Static_assert(sizeof(struct throttle_meter) == THROTTLE_CACHE_LINE, "a meter fills a line");

#endif
