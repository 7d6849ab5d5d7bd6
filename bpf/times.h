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

#define TIMES_SHIFT 6 /* of TSvals, in ms, one is kept every 64 */
#define TIMES_PLACES 16
#define TIMES_APART_NS 1000000
#define TIMES_DELAYED_NS 40000000 /* how long an ACK of a lone segment is delayed (TCP_DELACK_MIN) */
#define TIMES_OPTIONS 0x0101080a  /* NOP, NOP, kind 8, length 10: as all systems write them */

/* What a packet's TCP header has, up to the timestamps. */
struct times_header {
	struct tcphdr tcp;
	__be32 kind, value, echo;
};

/* What a socket carries. */
struct throttle_times {
	struct {
		__u32 value; /* TSval of the first segment of 64 ms */
		__u32 pad;
		__u64 sent_ns; /* 0: no answer is awaited */
	} stamps[TIMES_PLACES];
	struct {
		__u32 end; /* the sequence number behind it */
		__u32 pad;
		__u64 sent_ns;
	} segments[TIMES_PLACES]; /* the last ones with data, as far as they were a while apart */
	__u32 next;
	__u32 is_known; /* whether this is: */
	__u32 acknowledged;
	__u32 pad;
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

/* Reads the header of a segment, and where its data begins; 0 where there is none. Without timestamps, `kind`
 * is 0. */
static __always_inline __u32 times_read(struct __sk_buff *skb, struct times_header *header)
{
	__u32 offset = sizeof(struct ipv6hdr);
	__u8 first;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes_relative(skb, 0, &first, sizeof(first), BPF_HDR_START_NET))
			return 0;
		offset = (first & 0xf) * 4;
	}
	if (bpf_skb_load_bytes_relative(skb, offset, &header->tcp, sizeof(header->tcp), BPF_HDR_START_NET))
		return 0;
	if (bpf_skb_load_bytes_relative(skb, offset + sizeof(header->tcp), &header->kind, 3 * sizeof(__be32),
					BPF_HDR_START_NET) ||
	    header->kind != bpf_htonl(TIMES_OPTIONS))
		header->kind = 0;
	return offset + header->tcp.doff * 4;
}

/* Keeps in mind when a segment leaves. At cgroup hooks, a packet begins with its network header. */
static __always_inline void times_note(struct __sk_buff *skb)
{
	struct throttle_times *socket;
	struct bpf_sock *sk = skb->sk;
	struct times_header header;
	__u32 value, place, offset;
	__u64 now;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !bpf_tcp_sock(sk))
		return;
	offset = times_read(skb, &header);
	socket = offset ? bpf_sk_storage_get(&times, sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : NULL;
	if (!socket)
		return;
	now = bpf_ktime_get_ns();
	value = bpf_ntohl(header.value);
	place = (value >> TIMES_SHIFT) % TIMES_PLACES;
	if (header.kind && socket->stamps[place].value >> TIMES_SHIFT != value >> TIMES_SHIFT) {
		socket->stamps[place].sent_ns = now;
		socket->stamps[place].value = value;
	}
	if (skb->len <= offset ||
	    now - socket->segments[(socket->next - 1) % TIMES_PLACES].sent_ns < TIMES_APART_NS)
		return;
	place = socket->next++ % TIMES_PLACES;
	socket->segments[place].end = bpf_ntohl(header.tcp.seq) + skb->len - offset;
	socket->segments[place].sent_ns = now;
}

/* Counts a packet of the run's on its way in as its device does: GRO has put frames together, each with
 * headers. */
static __always_inline void times_count(struct __sk_buff *skb)
{
	__u32 headers = PACKET_ETHERNET_HEADER + 20 + 32;

	__sync_fetch_and_add(&run.times.wire_bytes,
			     skb->len + (skb->gso_segs > 1 ? (skb->gso_segs - 1) * headers : 0));
}

/*
 * Takes in a round trip of so many ns, less what its answer may have been `delayed` by. That one may be
 * shorter than it seems.
 */
static __always_inline void times_sample(__u32 *address, __u64 took, __u64 delayed)
{
	__u64 *known = bpf_map_lookup_elem(&bases, address);
	__u64 base = known ? *known : took, queueing;

	if (!delayed && took <= base) {
		bpf_map_update_elem(&bases, address, &took, BPF_ANY);
		base = took;
	}
	took = took > delayed ? took - delayed : 0;
	queueing = took > base ? took - base : 0;
	__sync_fetch_and_add(&run.times.samples, 1);
	if (queueing <= run.times.queueing_ns) {
		run.times.queueing_ns = queueing;
		run.times.base_ns = base;
	}
}

/*
 * When the segment was sent that an ACK answers; 0 where that isn't known. While segments are far apart, one
 * waits for the next to be acknowledged with it, so it is the last one that tells. Also says how long an ACK
 * of that one alone may have waited for the next.
 */
static __always_inline __u64 times_of_acknowledged(const struct throttle_times *socket, __u32 acknowledged,
						   __u64 *delay)
{
#pragma clang loop unroll(full)
	for (__u32 place = 0; place < TIMES_PLACES; place++) {
		__u64 sent = socket->segments[place].sent_ns;
		__u64 next = socket->segments[(place + 1) % TIMES_PLACES].sent_ns;

		if (socket->segments[place].end != acknowledged)
			continue;
		*delay = next > sent && next - sent < TIMES_DELAYED_NS ? next - sent : TIMES_DELAYED_NS;
		return sent;
	}
	return 0;
}

/* When the segment was sent whose TSval came back; 0 where that isn't known. Each counts once. */
static __always_inline __u64 times_of_echoed(struct throttle_times *socket, __u32 echo)
{
	__u32 place = (echo >> TIMES_SHIFT) % TIMES_PLACES;
	__u64 sent = socket->stamps[place].sent_ns;

	if (socket->stamps[place].value != echo)
		return 0;
	socket->stamps[place].sent_ns = 0;
	return sent;
}

/* Meets a segment of the run's on its way in. */
static __always_inline void times_take(struct __sk_buff *skb, struct bpf_sock *sk, __u32 *address)
{
	struct throttle_times *socket = bpf_sk_storage_get(&times, sk, 0, 0);
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	struct times_header header;
	__u32 acknowledged, new = 0;
	__u64 now, sent = 0, delayed = 0;

	if (!socket || !tcp || !times_read(skb, &header))
		return;
	acknowledged = bpf_ntohl(header.tcp.ack_seq);
	if (socket->is_known && (__s32)(acknowledged - socket->acknowledged) > 0)
		new = acknowledged - socket->acknowledged;
	if (new || !socket->is_known)
		socket->acknowledged = acknowledged;
	socket->is_known = 1;
	now = bpf_ktime_get_ns();
	if (new) {
		__sync_fetch_and_add(&run.times.acknowledged_bytes, new);
		sent = times_of_acknowledged(socket, acknowledged, &delayed);
		if (new > tcp->mss_cache)
			delayed = 0;
	}
	if (!sent && header.kind)
		sent = times_of_echoed(socket, bpf_ntohl(header.echo));
	if (sent)
		times_sample(address, now - sent, delayed);
}

#endif
