// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The programs that hold a run's limits, attached before its command starts. Meter and police sit on the
 * run's cgroup and decide; the witness sits on its parent and only counts. All are attached with
 * BPF_F_ALLOW_MULTI, and every program of the hierarchy runs on every packet, whatever the others said of it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bucket.h"
#include "group.h"
#include "learn.h"
#include "maps.h"
#include "packet.h"
#include "scope.h"
#include "source.h"
#include "times.h"

/* Return values of cgroup_skb programs: kernel/bpf/cgroup.c, __cgroup_bpf_run_filter_skb(). */
enum {
	INGRESS_DROP = 0,
	PASS = 1,
	EGRESS_DEFER = 0, /* TCP keeps new data in its queue and tries again; others would see EPERM */
	EGRESS_DROP_AND_SIGNAL = 2, /* no error for the sender */
};

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

/* Whether no limit is for the packet; counts it if so. */
static __always_inline bool is_exempt(struct __sk_buff *skb, enum throttle_direction direction)
{
	if (!constants.scope || !scope_exempts_packet(skb, 0, direction))
		return false;
	__sync_fetch_and_add(&run.exempt[direction].packets, 1);
	__sync_fetch_and_add(&run.exempt[direction].bytes, skb->len);
	return true;
}

static __always_inline bool within_limit(struct __sk_buff *skb, enum throttle_direction direction,
					 const struct packet *packet, __u32 wire_bytes)
{
	const struct throttle_limit *limit = limit_of(direction);
	struct throttle_meter *meter = &run.meter[direction];
	__u32 bytes = limit->count_wire ? wire_bytes : packet->payload;
	__u64 now, most;

	/* The clock is the dearest part of all, so only packets that are charged read it. */
	if (!bytes || (!limit->mult && !(constants.grouped && group_limit(direction)->mult)))
		return true;
	now = bpf_ktime_get_ns();
	if (!meter->first_ns)
		meter->first_ns = now;
	meter->last_ns = now;
	if (run.asleep)
		wake_guard();
	most = limit->burst_ns;
	/* Else there is nothing to be asked for. */
	if (direction == THROTTLE_UP &&
	    (run.queue[THROTTLE_UP].in_use || constants.grouped ||
	     (__s64)(meter->tat - now) > (__s64)(most / 2)) &&
	    run.learns[THROTTLE_UP])
		most = throttle_most(skb, now);
	/* What waited in the queue as the rate fell has passed the line: it holds nobody up. */
	if (direction == THROTTLE_DOWN && constants.is_timed && run.queue[THROTTLE_DOWN].drains &&
	    throttle_is_class(skb->priority))
		most = BUCKET_ALWAYS;
	/* Before the run's own bucket, which must not be charged for what the group refuses. */
	if ((most == BUCKET_ALWAYS || !constants.grouped || group_has_room(direction, now)) &&
	    bucket_admit(&meter->tat, now, bucket_cost(limit, bytes), most)) {
		if (constants.grouped)
			group_charge(direction, now, bytes);
		return true;
	}
	/* Without its ACKs the other direction would stall, so they pass even where they are counted. */
	return packet->bare_tcp;
}

/* Whether a packet is more than the run may still move. Where CPUs race, each may pass the one in its hands.
 */
static __always_inline bool exceeds_quota(const struct packet *packet, __u32 wire_bytes)
{
	const struct throttle_meter *down = &run.meter[THROTTLE_DOWN], *up = &run.meter[THROTTLE_UP];
	bool count_wire = limit_of(THROTTLE_DOWN)->count_wire;
	__u32 bytes = count_wire ? wire_bytes : packet->payload;
	__u64 used = count_wire ? down->passed_wire_bytes + up->passed_wire_bytes
				: down->passed_payload_bytes + up->passed_payload_bytes;

	if (!bytes || used + bytes <= run.quota)
		return false;
	run.is_used_up = 1;
	return true;
}

/* Says whether the packet passes, and counts it if so. */
static __always_inline bool passes(struct __sk_buff *skb, struct packet *packet,
				   enum throttle_direction direction)
{
	struct throttle_meter *meter = &run.meter[direction];
	__u32 wire_bytes;

	ports[skb->local_port & 0xffff] = 1;
	read_packet(packet, skb);
	wire_bytes = packet_wire_bytes(packet, skb->gso_segs, skb->gso_size);
	if (constants.has_quota && exceeds_quota(packet, wire_bytes))
		return false;
	if (!within_limit(skb, direction, packet, wire_bytes))
		return false;
	__sync_fetch_and_add(&meter->passed_packets, 1);
	__sync_fetch_and_add(&meter->passed_payload_bytes, packet->payload);
	__sync_fetch_and_add(&meter->passed_wire_bytes, wire_bytes);
	return true;
}

static __always_inline void count_dropped(const struct packet *packet, enum throttle_direction direction)
{
	__sync_fetch_and_add(&run.meter[direction].dropped_packets, 1);
	__sync_fetch_and_add(&run.meter[direction].dropped_payload_bytes, packet->payload);
}

static __always_inline int witness(struct __sk_buff *skb, enum throttle_direction direction)
{
	__sync_fetch_and_add(&run.witness[direction].packets, 1);
	__sync_fetch_and_add(&run.witness[direction].bytes, skb->len);
	return PASS;
}

/* Whether a packet is none of the run's. */
static __always_inline bool is_others(struct __sk_buff *skb)
{
	struct throttle_socket *socket;

	if (!constants.is_guest)
		return false;
	socket = device_socket(skb, false);
	return !socket || socket->is_pending;
}

/* Whether its socket was made before the run came: no witness sees those. */
static __always_inline bool is_adopted(struct __sk_buff *skb)
{
	struct throttle_socket *socket = device_socket(skb, false);

	return socket && socket->is_adopted;
}

/* Whether a packet that came in is lost, as was asked for. A global function, as above. */
__noinline int throttle_loses(void)
{
	if (bpf_get_prandom_u32() > run.loss[THROTTLE_DOWN])
		return false;
	__sync_fetch_and_add(&run.lost[THROTTLE_DOWN], 1);
	return true;
}

SEC("cgroup_skb/ingress")
int throttle_down(struct __sk_buff *skb)
{
	struct packet packet;

	if (is_others(skb) || is_exempt(skb, THROTTLE_DOWN))
		return PASS;
	if (throttle_is_class(skb->priority))
		__sync_fetch_and_add(&run.queue[THROTTLE_DOWN].arrived, 1);
	if (run.loss[THROTTLE_DOWN] && throttle_loses())
		return INGRESS_DROP;
	/* Until there is a queue, what came at full speed before the run may go on: it would lose much. */
	if (!learns_nothing(skb) && !throttle_settled(skb) && constants.is_late && is_adopted(skb))
		return PASS;
	if (passes(skb, &packet, THROTTLE_DOWN))
		return PASS;
	count_dropped(&packet, THROTTLE_DOWN);
	return INGRESS_DROP;
}

/* Where the packet comes from: the socket that listens may not say. */
static __always_inline __u32 packet_source(struct __sk_buff *skb)
{
	__u32 own[4] = {}, peer[4] = {};

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		bpf_skb_load_bytes(skb, 12, own, 4);
		bpf_skb_load_bytes(skb, 16, peer, 4);
	} else {
		bpf_skb_load_bytes(skb, 8, own, 16);
		bpf_skb_load_bytes(skb, 24, peer, 16);
	}
	return source_hash(source_fold(own), source_fold(peer), 0);
}

/* Whether a segment of TCP carries something. IPv6's extension headers are none of TCP's own. */
static __always_inline bool carries(struct __sk_buff *skb)
{
	__u32 offset = 40;
	__u8 byte = 0;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		bpf_skb_load_bytes(skb, 0, &byte, 1);
		offset = (byte & 0xf) * 4;
	}
	bpf_skb_load_bytes(skb, offset + 12, &byte, 1);
	return skb->len > offset + (byte >> 4) * 4;
}

/*
 * Whether the packet begins a connection, or answers one that does, on a device whose queue isn't there yet:
 * what it brings is to find that. It is held only where TCP will soon try again; MPTCP would fall back to
 * TCP, so its first data is held instead, which TCP tries again after 200 ms. A global function, as above.
 */
__noinline int throttle_holds(struct __sk_buff *skb)
{
	struct throttle_socket *socket;
	struct bpf_sock *sk;

	if (throttle_settled(skb))
		return false;
	sk = skb->sk;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return false;
	if (sk->state == BPF_TCP_LISTEN)
		return !source_is_known(packet_source(skb));
	socket = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!socket)
		return false;
	if (sk->state == BPF_TCP_SYN_SENT)
		return socket->retries_soon;
	return sk->state == BPF_TCP_ESTABLISHED && socket->is_kernels && carries(skb);
}

SEC("cgroup_skb/egress")
int throttle_up(struct __sk_buff *skb)
{
	struct packet packet;

	if (is_others(skb) || is_exempt(skb, THROTTLE_UP))
		return PASS;
	if (!learns_nothing(skb) && throttle_holds(skb)) {
		__sync_fetch_and_add(&run.tcp.deferred_packets, 1);
		return EGRESS_DEFER;
	}
	if (passes(skb, &packet, THROTTLE_UP)) {
		if (constants.is_timed)
			times_note(skb);
		return PASS;
	}
	if (device_is_tcp(skb)) {
		/* tcp_write_xmit() takes a segment that wasn't sent for one that is to be: none is lost. */
		__sync_fetch_and_add(&run.tcp.deferred_packets, 1);
		return EGRESS_DEFER;
	}
	count_dropped(&packet, THROTTLE_UP);
	return EGRESS_DROP_AND_SIGNAL;
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
