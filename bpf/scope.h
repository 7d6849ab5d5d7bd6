/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which peers the limits are for: the longest prefix decides. */
#ifndef THROTTLE_SCOPE_H
#define THROTTLE_SCOPE_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "packet.h"

/* `peer`: all 128 bits of its address. */
static __always_inline bool scope_exempts(struct throttle_prefix *peer)
{
	const __u8 *limited;

	peer->bits = 128;
	limited = bpf_map_lookup_elem(&prefixes, peer);
	return limited ? !*limited : constants.scope == THROTTLE_OTHERS_EXEMPT;
}

/* In network byte order, as below. */
static __always_inline bool scope_exempts_ipv4(__u32 address)
{
	struct throttle_prefix peer;

	peer.address[0] = peer.address[1] = 0;
	peer.address[2] = bpf_htonl(0xffff);
	peer.address[3] = address;
	return scope_exempts(&peer);
}

static __always_inline bool scope_exempts_ipv6(const __u32 *address)
{
	struct throttle_prefix peer;

	__builtin_memcpy(peer.address, address, sizeof(peer.address));
	return scope_exempts(&peer);
}

/*
 * Whether the peer of a packet is exempt, whose network header is at `offset`. What has no address that can
 * be read isn't.
 */
static __always_inline bool scope_exempts_packet(struct __sk_buff *skb, __u32 offset,
						 enum throttle_direction direction)
{
	const __u8 *data = (void *)(long)skb->data + offset;
	const __u8 *end = (void *)(long)skb->data_end;
	struct throttle_prefix peer;
	__u32 address;

	/* The peer is the source of what comes in, and the destination of what goes out. */
	if (packet_is_ipv4(data, end))
		return !bpf_skb_load_bytes(skb, offset + (direction == THROTTLE_DOWN ? 12 : 16), &address,
					   4) &&
		       scope_exempts_ipv4(address);
	if (data + 40 > end || data[0] >> 4 != 6)
		return false;
	return !bpf_skb_load_bytes(skb, offset + (direction == THROTTLE_DOWN ? 8 : 24), peer.address, 16) &&
	       scope_exempts(&peer);
}

#endif
