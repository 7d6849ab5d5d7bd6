/* SPDX-License-Identifier: MIT */
/*
 * What a packet is worth: its payload and headers, told from the bytes at the network header.
 * Plain C without a kernel, so that the host's tests run the very same code.
 */
#ifndef THROTTLE_PACKET_H
#define THROTTLE_PACKET_H

#include <stdbool.h>

#include "throttle.h"

#define PACKET_ETHERNET_HEADER 14
/* Hop-by-hop options and routing once, destination options twice: RFC 8200 4.1. */
#define PACKET_MAX_EXTENSIONS 4

enum packet_protocol {
	PACKET_HOP_BY_HOP = 0,
	PACKET_TCP = 6,
	PACKET_UDP = 17,
	PACKET_ROUTING = 43,
	PACKET_DESTINATION = 60,
	PACKET_LATER_FRAGMENT = 256, /* ours: no transport header here, all that follows is payload */
};

struct packet {
	__u32 payload; /* bytes behind the transport header; a malformed packet is all payload */
	__u32 headers; /* network and transport header bytes of one segment */
	bool bare_tcp; /* a TCP segment that carries nothing: ACK, SYN, FIN, RST; see flow_may_overtake() */
};

/* Where the transport header is and what it is, in one int: a BPF function returns no more to another. */
#define PACKET_TRANSPORT(protocol, offset) ((protocol) << 16 | (offset))
#define PACKET_MALFORMED -1
#define PACKET_OFFSET_MASK 0x7ff /* an offset that the verifier can't bound may not be used */

/*
 * Finds the transport header behind the IPv6 extension headers at `offset`. Behind a fragment header and
 * IPsec's all is payload: the kernel reassembles and decrypts before a socket's cgroup sees a packet, so
 * those come from raw sockets or carry what nobody can read.
 */
THROTTLE_INLINE int packet_skip_extensions(const __u8 *data, const __u8 *end, int protocol, __u32 offset)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < PACKET_MAX_EXTENSIONS; i++) {
		const __u8 *header = data + offset;

		if (protocol != PACKET_HOP_BY_HOP && protocol != PACKET_ROUTING &&
		    protocol != PACKET_DESTINATION)
			break;
		if (header + 8 > end)
			return PACKET_MALFORMED;
		protocol = header[0];
		offset = (offset + (header[1] + 1) * 8) & PACKET_OFFSET_MASK;
	}
	return PACKET_TRANSPORT(protocol, offset);
}

THROTTLE_INLINE bool packet_is_ipv4(const __u8 *data, const __u8 *end)
{
	return data + 20 <= end && data[0] >> 4 == 4;
}

/* Finds the transport header of a packet for which packet_is_ipv4(). */
THROTTLE_INLINE int packet_ipv4_transport(const __u8 *data)
{
	int protocol = (data[6] & 0x1f) || data[7] ? PACKET_LATER_FRAGMENT : data[9];
	__u32 header_words = data[0] & 0xf;

	return header_words < 5 ? PACKET_MALFORMED : PACKET_TRANSPORT(protocol, header_words * 4);
}

THROTTLE_INLINE int packet_ipv6_transport(const __u8 *data, const __u8 *end)
{
	if (data + 40 > end || data[0] >> 4 != 6)
		return PACKET_MALFORMED;
	return packet_skip_extensions(data, end, data[6], 40);
}

/* Finds the transport header: PACKET_TRANSPORT(), PACKET_MALFORMED where there is none to be found. */
THROTTLE_INLINE int packet_transport(const __u8 *data, const __u8 *end)
{
	return packet_is_ipv4(data, end) ? packet_ipv4_transport(data) : packet_ipv6_transport(data, end);
}

/*
 * Takes the `length` bytes of a packet, of which [data, end) can be read, apart at its `transport`. Lengths
 * inside the packet aren't trusted (BIG TCP writes 0), and what can't be read is payload: nothing is free.
 */
THROTTLE_INLINE void packet_split(struct packet *packet, const __u8 *data, const __u8 *end, __u32 length,
				  int transport)
{
	int protocol = transport >> 16;
	__u32 headers = transport & PACKET_OFFSET_MASK;
	const __u8 *header = data + headers;

	*packet = (struct packet){.payload = length};
	if (protocol == PACKET_TCP) {
		if (header + 20 > end || header[12] >> 4 < 5)
			return;
		headers += (header[12] >> 4) * 4;
	} else if (protocol == PACKET_UDP) {
		headers += 8;
	}
	if (transport == PACKET_MALFORMED || headers > length)
		return;
	packet->headers = headers;
	packet->payload = length - headers;
	packet->bare_tcp = protocol == PACKET_TCP && packet->payload == 0;
}

/* Bytes of the Ethernet frames that carry the packet: each segment of a GSO or GRO packet has headers. */
THROTTLE_INLINE __u32 packet_wire_bytes(const struct packet *packet, __u32 gso_segs, __u32 gso_size)
{
	__u32 segments = gso_segs;

	/* Some drivers give only the segments' size (virtio_net.h: gso_segs is left 0). */
	if (!segments && gso_size)
		segments = (packet->payload + gso_size - 1) / gso_size;
	if (!segments)
		segments = 1;
	return packet->payload + segments * (packet->headers + PACKET_ETHERNET_HEADER);
}

#endif
