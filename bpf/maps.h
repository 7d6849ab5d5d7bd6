/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps that all objects use: maps.bpf.o makes them, the others are given them. */
#ifndef THROTTLE_MAPS_H
#define THROTTLE_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bucket.h"
#include "throttle.h"

/* From bits/socket.h, which can't be had for BPF. */
enum {
	ADDRESS_FAMILY_IPV4 = 2,
	ADDRESS_FAMILY_IPV6 = 10,
};

struct throttle_run run SEC(".data.run") = {};

/* What a direction may do now. */
static __always_inline const struct throttle_limit *limit_of(enum throttle_direction direction)
{
	return bucket_limit_now(&run.limits, direction);
}

/*
 * Whether a socket of the run was seen at a local port: what isn't here costs bystanders no lookup. In ".bss"
 * any other global would be, too.
 */
__u8 ports[65536] SEC(".bss.ports");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	/* Accepted sockets inherit it. */
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct throttle_socket);
} sockets SEC(".maps");

/* Tells the guard that something moves again, and of new devices. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* or a page, where that is larger: libbpf sees to it */
} alarm SEC(".maps");

const volatile struct throttle_constants constants SEC(".rodata.run") = {};

/* Whether peers are limited (1) or exempt (0). Written before anything is attached. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, THROTTLE_MAX_PREFIXES);
	__type(key, struct throttle_prefix);
	__type(value, __u8);
} prefixes SEC(".maps");

#endif
