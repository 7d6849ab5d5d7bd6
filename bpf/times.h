/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How long round trips take, by TCP's timestamps (RFC 7323): a packet's leaving is kept with its TSval, and
 * what comes back with the same as TSecr is met at the device, before our own queue. So both the senders and
 * the receivers of data know, and what waits in the run isn't in it.
 */
#ifndef THROTTLE_TIMES_H
#define THROTTLE_TIMES_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "packet.h"

#define TIMES_SHIFT 6		 /* of TSvals, in ms, one is kept every 64 */
#define TIMES_OPTIONS 0x0101080a /* NOP, NOP, kind 8, length 10: as all systems write them */

/* What a packet's TCP header has, up to the timestamps. */
struct times_header {
	struct tcphdr tcp;
	__be32 kind, value, echo;
};

/* What a socket carries. */
struct throttle_times {
	struct {
		__u32 value;
		__u32 pad;
		__u64 sent_ns; /* 0: none is awaited */
	} sent[1 << (10 - TIMES_SHIFT)];
	__u32 acknowledged;
	__u32 is_known; /* whether that is */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct throttle_times);
} times SEC(".maps");

/* The shortest round trip to each address: a new connection would take a queue that is there for none. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32[4]);
	__type(value, __u64);
} bases SEC(".maps");

/* Reads the header of a segment; false where there is none, or it isn't as usual. */
static __always_inline bool times_read(struct __sk_buff *skb, struct times_header *header)
{
	__u32 offset = sizeof(struct ipv6hdr);
	__u8 first;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes_relative(skb, 0, &first, sizeof(first), BPF_HDR_START_NET))
			return false;
		offset = (first & 0xf) * 4;
	}
	return !bpf_skb_load_bytes_relative(skb, offset, header, sizeof(*header), BPF_HDR_START_NET) &&
	       header->kind == bpf_htonl(TIMES_OPTIONS);
}

/* Keeps in mind when a segment leaves. */
static __always_inline void times_note(struct __sk_buff *skb)
{
	struct throttle_times *socket;
	struct bpf_sock *sk = skb->sk;
	struct times_header header;
	__u32 value, place;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !bpf_tcp_sock(sk) || !times_read(skb, &header))
		return;
	socket = bpf_sk_storage_get(&times, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket)
		return;
	value = bpf_ntohl(header.value);
	place = (value >> TIMES_SHIFT) % (sizeof(socket->sent) / sizeof(socket->sent[0]));
	if (socket->sent[place].value >> TIMES_SHIFT == value >> TIMES_SHIFT)
		return;
	socket->sent[place].sent_ns = bpf_ktime_get_ns();
	socket->sent[place].value = value;
}

/* Takes in a round trip of so many ns. */
static __always_inline void times_sample(__u32 *address, __u64 took)
{
	__u64 *base = bpf_map_lookup_elem(&bases, address);
	__u64 queueing;

	if (!base || took < *base)
		bpf_map_update_elem(&bases, address, &took, BPF_ANY);
	queueing = base && took > *base ? took - *base : 0;
	__sync_fetch_and_add(&run.times.samples, 1);
	if (queueing <= run.times.queueing_ns) {
		run.times.queueing_ns = queueing;
		run.times.base_ns = took - queueing;
	}
}

/* Counts a packet of the run's on its way in as its device does: GRO has put frames together, each with
 * headers. */
static __always_inline void times_count(struct __sk_buff *skb)
{
	__u32 headers = PACKET_ETHERNET_HEADER + 20 + 32;

	__sync_fetch_and_add(&run.times.wire_bytes,
			     skb->len + (skb->gso_segs > 1 ? (skb->gso_segs - 1) * headers : 0));
}

/* Meets a segment of the run's on its way in. */
static __always_inline void times_take(struct __sk_buff *skb, struct bpf_sock *sk, __u32 *address)
{
	struct throttle_times *socket;
	struct times_header header;
	__u32 echo, place, acknowledged;
	__u64 sent;

	socket = bpf_sk_storage_get(&times, sk, 0, 0);
	if (!socket || !times_read(skb, &header))
		return;
	acknowledged = bpf_ntohl(header.tcp.ack_seq);
	if (socket->is_known && (__s32)(acknowledged - socket->acknowledged) > 0)
		__sync_fetch_and_add(&run.times.acknowledged_bytes, acknowledged - socket->acknowledged);
	if (!socket->is_known || (__s32)(acknowledged - socket->acknowledged) > 0)
		socket->acknowledged = acknowledged;
	socket->is_known = 1;
	echo = bpf_ntohl(header.echo);
	place = (echo >> TIMES_SHIFT) % (sizeof(socket->sent) / sizeof(socket->sent[0]));
	sent = socket->sent[place].sent_ns;
	if (!sent || socket->sent[place].value != echo)
		return;
	socket->sent[place].sent_ns = 0;
	times_sample(address, bpf_ktime_get_ns() - sent);
}

#endif
