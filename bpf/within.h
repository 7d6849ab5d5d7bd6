/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Packets of a run to itself. They pass the loopback device both ways, but their round trip is to be delayed
 * once, and each of them to be lost by one chance.
 */
#ifndef THROTTLE_WITHIN_H
#define THROTTLE_WITHIN_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "maps.h"
#include "queue.h"
#include "times.h"

#define WITHIN_LOOPBACK 1 /* LOOPBACK_IFINDEX, include/net/flow.h */

/*
 * Whether a packet's receiver is a socket of the run; `comes`: the packet is on its way in, so that its
 * socket takes the queue from now on, it may be among the first of its flow, and its round trip may be timed.
 */
static __always_inline bool within_has_socket(struct __sk_buff *skb, struct flow *flow, int protocol,
					      bool comes)
{
	struct throttle_socket *socket;
	struct bpf_sock *sk;
	__u32 address[4];

	if (protocol == IPPROTO_TCP)
		sk = bpf_sk_lookup_tcp(skb, &flow->tuple, flow_size(skb), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &flow->tuple, flow_size(skb), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	socket = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (socket && comes) {
		if (!socket->queued)
			socket->queued = 1;
		flow->is_fresh = queue_is_fresh(skb, socket);
		if (constants.is_timed)
			times_count(skb);
		if (constants.is_timed && protocol == IPPROTO_TCP) {
			flow_address(skb, flow, address);
			times_take(skb, sk, address);
		}
	}
	bpf_sk_release(sk);
	return socket;
}

/* Whether the first of two ends is the higher one: true of one way, and false of the other. */
static __always_inline bool within_is_higher(__be16 port, __be16 other_port, __u32 address, __u32 other)
{
	return port == other_port ? address > other : bpf_ntohs(port) > bpf_ntohs(other_port);
}

/* The flow the other way. Returns whether its port of origin is the higher one. */
static __always_inline bool within_turn(struct __sk_buff *skb, const struct flow *flow, struct flow *back)
{
	const struct bpf_sock_tuple *tuple = &flow->tuple;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		back->tuple.ipv4.saddr = tuple->ipv4.daddr;
		back->tuple.ipv4.daddr = tuple->ipv4.saddr;
		back->tuple.ipv4.sport = tuple->ipv4.dport;
		back->tuple.ipv4.dport = tuple->ipv4.sport;
		return within_is_higher(tuple->ipv4.dport, tuple->ipv4.sport, tuple->ipv4.daddr,
					tuple->ipv4.saddr);
	}
	__builtin_memcpy(back->tuple.ipv6.saddr, tuple->ipv6.daddr, sizeof(tuple->ipv6.saddr));
	__builtin_memcpy(back->tuple.ipv6.daddr, tuple->ipv6.saddr, sizeof(tuple->ipv6.saddr));
	back->tuple.ipv6.sport = tuple->ipv6.dport;
	back->tuple.ipv6.dport = tuple->ipv6.sport;
	return within_is_higher(tuple->ipv6.dport, tuple->ipv6.sport, tuple->ipv6.daddr[3],
				tuple->ipv6.saddr[3]);
}

/* Whether a packet for the run isn't to be delayed, as what goes the other way is. */
static __always_inline bool within_is_undelayed(struct __sk_buff *skb, const struct flow *flow, int protocol)
{
	struct flow back = {};

	return skb->ifindex == WITHIN_LOOPBACK && within_turn(skb, flow, &back) &&
	       within_has_socket(skb, &back, protocol, false);
}

#endif
