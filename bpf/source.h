/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Where connections were made from, by local address: usually that goes with a device. TCP tells the device
 * of a connection only when its first packet is sent, which is too late to say when it is to be tried again.
 */
#ifndef THROTTLE_SOURCE_H
#define THROTTLE_SOURCE_H

#include <linux/bpf.h>
#include <stdbool.h>

#include "maps.h"

/* `address`, `peer`: all words of them. */
static __always_inline __u32 source_hash(__u32 address, __u32 peer, __u64 network)
{
	/* To an address of this host it takes loopback. */
	if (address == peer)
		address = 0;
	return (address ^ (__u32)network) * 0x9e3779b1 | 1;
}

static __always_inline __u32 source_fold(const __u32 *address)
{
	return address[0] ^ address[1] ^ address[2] ^ address[3];
}

static __always_inline __u32 *source_slot(__u32 source)
{
	return &run.sources[source >> 28 & (THROTTLE_SOURCES - 1)];
}

static __always_inline bool source_is_known(__u32 source)
{
	return *source_slot(source) == source;
}

static __always_inline void source_note(__u32 source)
{
	*source_slot(source) = source;
}

#endif
