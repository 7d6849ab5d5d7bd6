// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The programs that lead a run's downloads into a queue, where they wait instead of being dropped. They are
 * loaded once for each queue, and once more for devices without Ethernet.
 */
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define THROTTLE_NO_CMPXCHG /* as before 5.12: a packet that isn't charged here is by police */
#include "bucket.h"
#include "flow.h"
#include "maps.h"
#include "queue.h"
#include "scope.h"
#include "within.h"

/* Whether all that the run receives is delayed. */
static __always_inline bool delays(void)
{
	return queue.impairs && run.queue[THROTTLE_DOWN].delays;
}

/* Whether no limit is for the sender of a packet. */
static __always_inline bool comes_exempt(struct __sk_buff *skb, const struct flow *flow)
{
	return skb->protocol == bpf_htons(ETH_P_IP) ? scope_exempts_ipv4(flow->tuple.ipv4.saddr)
						    : scope_exempts_ipv6(flow->tuple.ipv6.saddr);
}

/*
 * Whether a packet ends here. One that is only forwarded may match a socket, too: by its port alone, where
 * that has no address of its own, and one may be bound to another's (IP_FREEBIND).
 */
static __always_inline bool ends_here(struct __sk_buff *skb, const struct flow *flow)
{
	const struct bpf_sock_tuple *tuple = &flow->tuple;
	struct bpf_fib_lookup route = {.ifindex = skb->ifindex};
	long way;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		route.family = ADDRESS_FAMILY_IPV4;
		route.ipv4_src = tuple->ipv4.saddr;
		route.ipv4_dst = tuple->ipv4.daddr;
	} else {
		route.family = ADDRESS_FAMILY_IPV6;
		__builtin_memcpy(route.ipv6_src, tuple->ipv6.saddr, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, tuple->ipv6.daddr, sizeof(route.ipv6_dst));
	}
	/* Where the device forwards nothing, that is told before any route is looked up. */
	way = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	return way == BPF_FIB_LKUP_RET_FWD_DISABLED || way == BPF_FIB_LKUP_RET_NOT_FWDED;
}

/* Whether it isn't to wait for the rate: it costs nothing, or has no room there, and is left to the police.
 */
static __always_inline bool passes_by(struct __sk_buff *skb, const struct flow *flow, int protocol)
{
	return flow->overtakes || (protocol != IPPROTO_TCP && skb->len > run.queue[THROTTLE_DOWN].largest);
}

enum {
	PASS_BURST_NS = 4000000, /* what HTB lets by at once, too */
	PASS_HEADERS = 66, /* bytes of each segment's in a frame of many, which has those of the first */
};

/*
 * Whether the queue is empty, and would let a packet by at once: then it has no need to go there, and
 * overtakes nothing.
 */
static __always_inline bool passes_at_once(struct __sk_buff *skb)
{
	struct throttle_queue *down = &run.queue[THROTTLE_DOWN];
	__u32 bytes = skb->len + (queue.has_no_ethernet ? ETH_HLEN : 0);
	__u64 now, cost;
	bool fits;

	if (!down->cost || down->drains)
		return false;
	if (skb->gso_segs > 1)
		bytes += (skb->gso_segs - 1) * PASS_HEADERS;
	now = bpf_ktime_get_ns();
	cost = bytes * down->cost >> 16;
	fits = (__s64)(down->due + cost - now) <= PASS_BURST_NS;
	bucket_admit(&down->due, now, cost, BUCKET_ALWAYS);
	return fits && down->led - down->arrived == down->astray;
}

/* The class for a packet of the run, as its priority; 0: none. */
static __always_inline __u32 queue_class(struct __sk_buff *skb, struct flow *flow, int protocol)
{
	if (delays()) {
		if (within_is_undelayed(skb, flow, protocol))
			return passes_by(skb, flow, protocol) ? 0 : THROTTLE_NEAR_CLASS;
		if (passes_by(skb, flow, protocol))
			return THROTTLE_FREE_CLASS;
	}
	if (flow->is_fresh && !delays())
		return THROTTLE_FRESH_CLASS;
	return protocol == IPPROTO_TCP ? THROTTLE_TCP_CLASS : THROTTLE_REST_CLASS;
}

/* Whether a packet is for a socket of the run; it has its queue's class then. */
static __always_inline bool is_ours(struct __sk_buff *skb)
{
	struct flow flow = {};
	__u32 class;
	int protocol;

	/*
	 * Frames for others may be bridged, and multicast is for others, too. A VLAN's device will see what
	 * has a tag; a macvlan's, what was in the queue already.
	 */
	if (!run.queue[THROTTLE_DOWN].in_use || skb->pkt_type != PACKET_HOST ||
	    flow_misses(skb, queue.has_no_ethernet ? 0 : ETH_HLEN, ports) || skb->vlan_present ||
	    throttle_is_class(skb->priority))
		return false;
	protocol = flow_read(skb, &flow);
	if (protocol < 0 || !ports[flow_local_port(skb, &flow)])
		return false;
	if (!delays() && !constants.is_timed && passes_by(skb, &flow, protocol))
		return false;
	if (constants.scope && comes_exempt(skb, &flow))
		return false;
	if (!within_has_socket(skb, &flow, protocol, true) || !ends_here(skb, &flow))
		return false;
	if (!delays() && passes_by(skb, &flow, protocol))
		return false;
	class = queue_class(skb, &flow, protocol);
	if (!class || (!delays() && passes_at_once(skb)) || !queue_has_frame(skb))
		return false;
	skb->priority = class;
	__sync_fetch_and_add(&run.queue[THROTTLE_DOWN].led, 1);
	return true;
}

/* Sends what is for the run through its queue, from which it comes back to where it was. */
SEC("tc")
int throttle_shape(struct __sk_buff *skb)
{
	return is_ours(skb) ? (int)bpf_redirect(target.device, 0) : TC_ACT_UNSPEC;
}

/* The same for a filter whose action sends what it matches: -1 is a match, 0 none (net/sched/cls_bpf.c). */
SEC("tc")
int throttle_match(struct __sk_buff *skb)
{
	return is_ours(skb) ? -1 : 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
