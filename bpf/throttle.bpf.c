// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The programs of one run. Meter and police sit on the run's cgroup and decide; the witness sits on its
 * parent and only counts. All are attached with BPF_F_ALLOW_MULTI, and every program of the hierarchy
 * runs on every packet, whatever the others said of it.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bucket.h"
#include "packet.h"

/* Return values of cgroup_skb programs: kernel/bpf/cgroup.c, __cgroup_bpf_run_filter_skb(). */
enum {
	INGRESS_DROP = 0,
	PASS = 1,
	EGRESS_DROP_AND_SIGNAL = 2, /* TCP backs off; others see no error (0 would give the sender EPERM) */
};

struct throttle_run run SEC(".data.run") = {};

/* A global function: the verifier goes through it once, not again for each way into what follows the call. */
__noinline int throttle_ipv6_transport(struct __sk_buff *skb)
{
	return packet_ipv6_transport((void *)(long)skb->data, (void *)(long)skb->data_end);
}

static __always_inline void read_packet(struct packet *packet, struct __sk_buff *skb)
{
	const __u8 *data = (void *)(long)skb->data;
	const __u8 *end = (void *)(long)skb->data_end;
	int transport =
		packet_is_ipv4(data, end) ? packet_ipv4_transport(data) : throttle_ipv6_transport(skb);

	packet_split(packet, data, end, skb->len, transport);
}

static __always_inline bool within_limit(const struct throttle_limit *limit, struct throttle_meter *meter,
					 const struct packet *packet, __u32 wire_bytes)
{
	__u32 bytes = limit->count_wire ? wire_bytes : packet->payload;
	__u64 now;

	/* The clock is the dearest part of all, so only packets that are charged read it. */
	if (!limit->mult || !bytes)
		return true;
	now = bpf_ktime_get_ns();
	if (!meter->first_ns)
		meter->first_ns = now;
	meter->last_ns = now;
	if (bucket_admit(&meter->tat, now, bucket_cost(limit, bytes), limit->burst_ns))
		return true;
	/* Without its ACKs the other direction would stall, so they pass even where they are counted. */
	return packet->bare_tcp;
}

/* Counts the packet and says whether it passes. */
static __always_inline bool police(struct __sk_buff *skb, enum throttle_direction direction)
{
	struct throttle_meter *meter = &run.meter[direction];
	struct packet packet;
	__u32 wire_bytes;

	read_packet(&packet, skb);
	wire_bytes = packet_wire_bytes(&packet, skb->gso_segs, skb->gso_size);
	if (!within_limit(&run.limit[direction], meter, &packet, wire_bytes)) {
		__sync_fetch_and_add(&meter->dropped_packets, 1);
		__sync_fetch_and_add(&meter->dropped_payload_bytes, packet.payload);
		return false;
	}
	__sync_fetch_and_add(&meter->passed_packets, 1);
	__sync_fetch_and_add(&meter->passed_payload_bytes, packet.payload);
	__sync_fetch_and_add(&meter->passed_wire_bytes, wire_bytes);
	return true;
}

static __always_inline int witness(struct __sk_buff *skb, enum throttle_direction direction)
{
	__sync_fetch_and_add(&run.witness[direction].packets, 1);
	__sync_fetch_and_add(&run.witness[direction].bytes, skb->len);
	return PASS;
}

SEC("cgroup_skb/ingress")
int throttle_down(struct __sk_buff *skb)
{
	return police(skb, THROTTLE_DOWN) ? PASS : INGRESS_DROP;
}

SEC("cgroup_skb/egress")
int throttle_up(struct __sk_buff *skb)
{
	return police(skb, THROTTLE_UP) ? PASS : EGRESS_DROP_AND_SIGNAL;
}

SEC("cgroup_skb/ingress")
int throttle_wit_dn(struct __sk_buff *skb)
{
	return witness(skb, THROTTLE_DOWN);
}

SEC("cgroup_skb/egress")
int throttle_wit_up(struct __sk_buff *skb)
{
	return witness(skb, THROTTLE_UP);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
