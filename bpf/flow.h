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

#define FLOW_TCP_FLAGS 13 /* where they are in the header */
#define FLOW_TCP_SYN 0x02

/*
 * Fills in the ports, behind the network header. What begins a TCP connection is of no flow here: were it to
 * wait, it would pass for the length of the path.
 */
static __always_inline bool flow_read_ports(struct __sk_buff *skb, __u32 offset, int protocol, __be16 *source,
					    __be16 *destination)
{
	struct {
		__be16 source, destination;
	} ports;
	__u8 flags = 0;

	if (bpf_skb_load_bytes_relative(skb, offset, &ports, sizeof(ports), BPF_HDR_START_NET) < 0)
		return false;
	if (protocol == IPPROTO_TCP &&
	    bpf_skb_load_bytes_relative(skb, offset + FLOW_TCP_FLAGS, &flags, 1, BPF_HDR_START_NET) < 0)
		return false;
	*source = ports.source;
	*destination = ports.destination;
	return !(flags & FLOW_TCP_SYN);
}

static __always_inline int flow_read_ipv4(struct __sk_buff *skb, struct bpf_sock_tuple *tuple)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) < 0)
		return -1;
	/* A fragment that isn't the first has no ports, and the first goes where they go: to the police. */
	if (ip.frag_off & bpf_htons(0x3fff) || (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_UDP))
		return -1;
	if (!flow_read_ports(skb, ip.ihl * 4, ip.protocol, &tuple->ipv4.sport, &tuple->ipv4.dport))
		return -1;
	tuple->ipv4.saddr = ip.saddr;
	tuple->ipv4.daddr = ip.daddr;
	return ip.protocol;
}

/* Packets with extension headers are left to the police. */
static __always_inline int flow_read_ipv6(struct __sk_buff *skb, struct bpf_sock_tuple *tuple)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) < 0)
		return -1;
	if (ip.nexthdr != IPPROTO_TCP && ip.nexthdr != IPPROTO_UDP)
		return -1;
	if (!flow_read_ports(skb, sizeof(ip), ip.nexthdr, &tuple->ipv6.sport, &tuple->ipv6.dport))
		return -1;
	__builtin_memcpy(tuple->ipv6.saddr, &ip.saddr, sizeof(ip.saddr));
	__builtin_memcpy(tuple->ipv6.daddr, &ip.daddr, sizeof(ip.daddr));
	return ip.nexthdr;
}

/* Fills in the tuple and its size. Returns the protocol, TCP or UDP; negative for anything else. */
static __always_inline int flow_read(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 *size)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		*size = sizeof(tuple->ipv4);
		return flow_read_ipv4(skb, tuple);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		*size = sizeof(tuple->ipv6);
		return flow_read_ipv6(skb, tuple);
	}
	return -1;
}

static __always_inline __u32 flow_local_port(const struct bpf_sock_tuple *tuple, __u32 size)
{
	__u32 port = bpf_ntohs(size == sizeof(tuple->ipv4) ? tuple->ipv4.dport : tuple->ipv6.dport);

	/* The verifier of Linux 5.10 knows no bounds of what was swapped, and the compiler too well that it
	 * has them. */
	asm volatile("" : "+r"(port));
	return port & 0xffff;
}

#endif
