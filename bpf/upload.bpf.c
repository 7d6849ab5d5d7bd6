// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The programs that lead a run's uploads through a queue, where they wait instead of being dropped, and back
 * to their device. They keep their socket meanwhile, so that its buffer holds the sender back.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "device.h"
#include "flow.h"
#include "maps.h"
#include "packet.h"
#include "queue.h"
#include "scope.h"
#include "within.h"

/* What a packet has in skb->cb while it waits. The words before these are fq_codel's. */
enum {
	WORD_PRIORITY = 2, /* its own: in the queue it names the class */
	WORD_DEVICE = 3,   /* where it came from */
	WORD_SIGN = 4,	   /* that the others were written here */
	SIGN = THROTTLE_QUEUE_ROOT,
};

/* Where the network header is in a packet. */
static __always_inline __u32 network_offset(void)
{
	return queue.has_no_ethernet ? 0 : ETH_HLEN;
}

/* Whether a segment of TCP is to overtake those that wait. */
static __always_inline bool overtakes(struct __sk_buff *skb)
{
	const __u8 *data = (void *)(long)skb->data + network_offset();
	const __u8 *end = (void *)(long)skb->data_end;
	int transport = packet_transport(data, end);
	__u32 offset = transport & PACKET_OFFSET_MASK;

	return transport >> 16 == PACKET_TCP &&
	       flow_may_overtake(skb, offset, skb->len - network_offset() - offset);
}

/* Tells the guard of senders that are to wait for room. */
static __always_inline void count_sender(struct throttle_socket *socket)
{
	if (socket->is_sender)
		return;
	socket->is_sender = 1;
	__sync_fetch_and_add(&run.queue[THROTTLE_UP].senders, 1);
	wake_guard();
}

/*
 * Whether the packet's delay can't be on the way back in: only what TCP and UDP receive is known there to be
 * the run's.
 */
static __always_inline bool is_delayed(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!queue.impairs || !run.queue[THROTTLE_UP].delays || !sk)
		return false;
	sk = bpf_sk_fullsock(sk);
	return sk && (sk->type == SOCKET_RAW ||
		      (sk->protocol != IPPROTO_TCP && sk->protocol != IPPROTO_UDP && !bpf_tcp_sock(sk)));
}

/* Whether it is lost on its way: by one chance, also where it is the run that is to receive it. */
static __always_inline bool is_lost(struct __sk_buff *skb)
{
	struct flow flow = {};
	int protocol;

	if (!queue.impairs || !run.loss[THROTTLE_UP] || bpf_get_prandom_u32() > run.loss[THROTTLE_UP])
		return false;
	if (skb->ifindex == WITHIN_LOOPBACK) {
		protocol = flow_read(skb, &flow);
		if (protocol >= 0 && within_has_socket(skb, &flow, protocol, false))
			return false;
	}
	__sync_fetch_and_add(&run.lost[THROTTLE_UP], 1);
	return true;
}

/* Leads a packet to its class of the queue. */
static __always_inline int hold(struct __sk_buff *skb, __u32 class)
{
	if (!queue_has_frame(skb))
		return TC_ACT_UNSPEC;
	skb->cb[WORD_PRIORITY] = skb->priority;
	skb->cb[WORD_DEVICE] = skb->ifindex;
	skb->cb[WORD_SIGN] = SIGN;
	skb->priority = class;
	return (int)bpf_redirect(target.device, 0);
}

/* Leads what the run sends by a device to the queue: before all other programs there, which see it
 * afterwards. */
SEC("tc")
int throttle_hold(struct __sk_buff *skb)
{
	bool in_use = run.queue[THROTTLE_UP].in_use;
	struct throttle_socket *socket;
	struct throttle_device *device;
	bool is_tcp;

	if ((!in_use && !queue.impairs) || skb->tc_index & queue.mark)
		return TC_ACT_UNSPEC;
	socket = device_socket(skb, false);
	if (!socket || socket->network != queue.network ||
	    (constants.scope && scope_exempts_packet(skb, network_offset(), THROTTLE_UP)))
		return TC_ACT_UNSPEC;
	/* To a device that isn't there: unlike with a drop, the sender isn't told (sch_handle_egress()). */
	if (is_lost(skb))
		return (int)bpf_redirect(0, 0);
	if (is_delayed(skb))
		return hold(skb, THROTTLE_FREE_CLASS);
	if (!in_use || !device_socket(skb, true))
		return TC_ACT_UNSPEC;
	device = device_place(THROTTLE_UP, queue.network, skb->ifindex);
	if (device)
		device->unseen = 0;
	is_tcp = device_is_tcp(skb);
	if (!is_tcp)
		count_sender(socket);
	if (is_tcp && overtakes(skb))
		return TC_ACT_UNSPEC;
	return hold(skb, is_tcp ? THROTTLE_TCP_CLASS : THROTTLE_REST_CLASS);
}

/* Sends what has waited on where it came from. Nothing else is to come here. */
SEC("tc")
int throttle_back(struct __sk_buff *skb)
{
	if (skb->cb[WORD_SIGN] != SIGN)
		return TC_ACT_SHOT;
	skb->priority = skb->cb[WORD_PRIORITY];
	skb->tc_index |= queue.mark;
	return (int)bpf_redirect(skb->cb[WORD_DEVICE], 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
