/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which flow a packet at a device's ingress belongs to, as a socket lookup wants it. */
#ifndef THROTTLE_FLOW_H
#define THROTTLE_FLOW_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FLOW_TCP_OFFSET 12 /* where a TCP header has its length and, behind it, the flags */
#define FLOW_TCP_SYN 0x02
#define FLOW_TCP_ACK 0x10

/*
 * Whether a TCP segment of `bytes`, header and all, may overtake what waits in the queue. That isn't bare_tcp
 * of packet.h, by which segments are never dropped: a FIN or RST carries nothing, but ends what it would
 * overtake; a SYN with data (TCP Fast Open) may be dropped, but isn't to wait.
 */
static __always_inline bool flow_may_overtake(struct __sk_buff *skb, __u32 offset, __u32 bytes)
{
	struct {
		__u8 length, flags;
	} tcp;

	if (bpf_skb_load_bytes_relative(skb, offset + FLOW_TCP_OFFSET, &tcp, sizeof(tcp), BPF_HDR_START_NET) <
	    0)
		return true;
	/* What begins a connection: else its wait would pass for the length of the path. */
	if (tcp.flags & FLOW_TCP_SYN)
		return true;
	/* A bare ACK: it costs nothing, and an upload would wait for it. */
	return tcp.flags == FLOW_TCP_ACK && bytes == (tcp.length >> 4) * 4;
}

/* What is to be known of a packet that a socket may be looked up for. */
struct flow {
	struct bpf_sock_tuple tuple;
	bool overtakes; /* whether it is TCP's and may overtake what waits */
	bool is_fresh;	/* whether it is among the first of its flow, where that matters */
};

/* The size of its tuple. Not kept with it: the verifier would know no bounds of what it read from there. */
static __always_inline __u32 flow_size(struct __sk_buff *skb)
{
	const struct bpf_sock_tuple *tuple;

	return skb->protocol == bpf_htons(ETH_P_IP) ? sizeof(tuple->ipv4) : sizeof(tuple->ipv6);
}

/* Fills in the ports, behind the network header. */
static __always_inline bool flow_read_ports(struct __sk_buff *skb, __u32 offset, __u32 bytes, int protocol,
					    struct flow *flow, __be16 *source, __be16 *destination)
{
	struct {
		__be16 source, destination;
	} ports;

	if (bpf_skb_load_bytes_relative(skb, offset, &ports, sizeof(ports), BPF_HDR_START_NET) < 0)
		return false;
	*source = ports.source;
	*destination = ports.destination;
	flow->overtakes = protocol == IPPROTO_TCP && flow_may_overtake(skb, offset, bytes);
	return true;
}

static __always_inline int flow_read_ipv4(struct __sk_buff *skb, struct flow *flow)
{
	struct bpf_sock_tuple *tuple = &flow->tuple;
	struct iphdr ip;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) < 0)
		return -1;
	/* A fragment that isn't the first has no ports, and the first goes where they go: to the police. */
	if (ip.frag_off & bpf_htons(0x3fff) || (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_UDP))
		return -1;
	if (!flow_read_ports(skb, ip.ihl * 4, bpf_ntohs(ip.tot_len) - ip.ihl * 4, ip.protocol, flow,
			     &tuple->ipv4.sport, &tuple->ipv4.dport))
		return -1;
	tuple->ipv4.saddr = ip.saddr;
	tuple->ipv4.daddr = ip.daddr;
	return ip.protocol;
}

/* Packets with extension headers are left to the police. */
static __always_inline int flow_read_ipv6(struct __sk_buff *skb, struct flow *flow)
{
	struct bpf_sock_tuple *tuple = &flow->tuple;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) < 0)
		return -1;
	if (ip.nexthdr != IPPROTO_TCP && ip.nexthdr != IPPROTO_UDP)
		return -1;
	if (!flow_read_ports(skb, sizeof(ip), bpf_ntohs(ip.payload_len), ip.nexthdr, flow, &tuple->ipv6.sport,
			     &tuple->ipv6.dport))
		return -1;
	__builtin_memcpy(tuple->ipv6.saddr, &ip.saddr, sizeof(ip.saddr));
	__builtin_memcpy(tuple->ipv6.daddr, &ip.daddr, sizeof(ip.daddr));
	return ip.nexthdr;
}

/* Fills in the flow. Returns the protocol, TCP or UDP; negative for anything else. */
static __always_inline int flow_read(struct __sk_buff *skb, struct flow *flow)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return flow_read_ipv4(skb, flow);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return flow_read_ipv6(skb, flow);
	return -1;
}

/* Where it comes from, as a key of a map. */
static __always_inline void flow_address(struct __sk_buff *skb, const struct flow *flow, __u32 *address)
{
	__builtin_memset(address, 0, 16);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		address[0] = flow->tuple.ipv4.saddr;
	else
		__builtin_memcpy(address, flow->tuple.ipv6.saddr, 16);
}

/*
 * A port as the index of an array. The verifier of Linux 5.10 knows no bounds of what was swapped or put
 * together; the compiler does, and would leave out the mask.
 */
static __always_inline __u32 flow_index(__u32 port)
{
	asm volatile("" : "+r"(port));
	return port & 0xffff;
}

static __always_inline __u32 flow_local_port(struct __sk_buff *skb, const struct flow *flow)
{
	return flow_index(bpf_ntohs(skb->protocol == bpf_htons(ETH_P_IP) ? flow->tuple.ipv4.dport
									 : flow->tuple.ipv6.dport));
}

/*
 * Whether a packet is for none of the marked ports, told as cheaply as can be: the packets of all others come
 * here. False where it can't be told so. A packet at ingress begins with its Ethernet header, if it has one;
 * where that is longer, it isn't of these protocols.
 */
static __always_inline bool flow_misses(struct __sk_buff *skb, __u32 offset, const __u8 *marks)
{
	const __u8 *data = (void *)(long)skb->data;
	const __u8 *end = (void *)(long)skb->data_end;
	const __u8 *header = data + offset;
	bool is_ipv4 = skb->protocol == bpf_htons(ETH_P_IP);
	__u32 port;
	__u8 inner;

	if (header + sizeof(struct ipv6hdr) > end)
		return false;
	/* Other devices than Ethernet's may have headers, too, and a tunnel's may be those of IP. */
	inner = is_ipv4 ? header[offsetof(struct iphdr, protocol)]
			: header[offsetof(struct ipv6hdr, nexthdr)];
	if (!offset &&
	    (header[0] >> 4 != (is_ipv4 ? 4 : 6) || (inner != IPPROTO_TCP && inner != IPPROTO_UDP)))
		return false;
	header += is_ipv4 ? (header[0] & 0xf) * 4 : sizeof(struct ipv6hdr);
	if (header + 4 > end)
		return false;
	port = header[2] << 8 | header[3];
	return !marks[flow_index(port)];
}

#endif
