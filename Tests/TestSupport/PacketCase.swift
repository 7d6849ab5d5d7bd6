import Testing

/// A packet from its network header on, and what it is worth.
package struct PacketCase: CustomTestStringConvertible, Sendable {
    package let testDescription: String
    package let bytes: [UInt8]
    /// The payload's length.
    package let payload: UInt32
    package var isBareTCP = false

    package var length: UInt32 { UInt32(bytes.count) }
    /// 0 for a malformed packet, which is all payload.
    package var headers: UInt32 { length - payload }
    /// The packet in an Ethernet frame, which BPF_PROG_TEST_RUN takes. It wants whole IP headers in frames of
    /// IP, so the others are of an experimental type: the programs don't look at that. It is addressed to loopback, which
    /// takes it for its own host's.
    package var frame: [UInt8] {
        let isIPv6 = bytes[0] >> 4 == 6
        let type: [UInt8] =
            bytes.count < (isIPv6 ? 40 : 20) ? [0x88, 0xb5] : isIPv6 ? [0x86, 0xdd] : [0x08, 0x00]
        return [UInt8](repeating: 0, count: 6) + [UInt8](repeating: 2, count: 6) + type + bytes
    }

    package init(_ name: String, _ bytes: [UInt8], payload: Int, isBareTCP: Bool = false) {
        testDescription = name
        self.bytes = bytes
        self.payload = UInt32(payload)
        self.isBareTCP = isBareTCP
    }

    package static func malformed(_ name: String, _ bytes: [UInt8]) -> PacketCase {
        PacketCase(name, bytes, payload: bytes.count)
    }
}

/// Headers with what follows them.
package enum Header {
    package static func ipv4(_ protocol: UInt8, options: Int = 0, fragment: UInt16 = 0, _ rest: [UInt8]) -> [UInt8] {
        let length = 20 + options + rest.count
        return [0x40 | UInt8(5 + options / 4), 0] + bigEndian(length) + [0, 1] + bigEndian(Int(fragment))
            + [64, `protocol`, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2] + data(options) + rest
    }

    package static func ipv6(_ next: UInt8, _ rest: [UInt8]) -> [UInt8] {
        [0x60, 0, 0, 0] + bigEndian(rest.count) + [next, 64] + data(32) + rest
    }

    /// A hop-by-hop, routing or destination header of `words` × 8 bytes.
    package static func `extension`(next: UInt8, words: Int = 1, _ rest: [UInt8]) -> [UInt8] {
        [next, UInt8(words - 1)] + data(words * 8 - 2) + rest
    }

    package static func fragment(next: UInt8, _ rest: [UInt8]) -> [UInt8] {
        [next, 0, 0, 1, 0, 0, 0, 9] + rest
    }

    package static func tcp(options: Int = 0, flags: UInt8 = 0x10, _ payload: [UInt8] = []) -> [UInt8] {
        [0x1f, 0x90, 0xc0, 0, 0, 0, 0, 1, 0, 0, 0, 2, UInt8(5 + options / 4) << 4, flags, 1, 0, 0, 0, 0, 0]
            + data(options) + payload
    }

    package static func udp(_ payload: [UInt8]) -> [UInt8] {
        [0, 53, 0xc0, 0] + bigEndian(8 + payload.count) + [0, 0] + payload
    }

    package static func data(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) } }

    private static func bigEndian(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xff), UInt8(value & 0xff)] }
}

extension PacketCase {
    package static let ack = PacketCase("IPv4 TCP ACK", Header.ipv4(6, Header.tcp()), payload: 0, isBareTCP: true)
    package static let data = PacketCase("IPv4 TCP data", Header.ipv4(6, Header.tcp(Header.data(1448))), payload: 1448)
    package static let datagram = PacketCase("IPv6 UDP", Header.ipv6(17, Header.udp(Header.data(500))), payload: 500)
    package static let emptyDatagram = PacketCase("IPv4 UDP, empty", Header.ipv4(17, Header.udp([])), payload: 0)

    package static let bareTCP = [
        ack,
        PacketCase("IPv4 TCP SYN", Header.ipv4(6, Header.tcp(options: 20, flags: 0x02)), payload: 0, isBareTCP: true),
        PacketCase("IPv4 TCP FIN", Header.ipv4(6, Header.tcp(flags: 0x11)), payload: 0, isBareTCP: true),
        PacketCase("IPv4 TCP RST", Header.ipv4(6, Header.tcp(flags: 0x04)), payload: 0, isBareTCP: true),
        PacketCase("IPv6 TCP ACK, SACK", Header.ipv6(6, Header.tcp(options: 40)), payload: 0, isBareTCP: true),
        PacketCase(
            "IPv6 TCP ACK behind options", Header.ipv6(60, Header.extension(next: 6, Header.tcp())), payload: 0,
            isBareTCP: true),
    ]

    package static let wellFormed =
        bareTCP + [
            data, datagram, emptyDatagram,
            PacketCase("IPv4 TCP, all options", Header.ipv4(6, Header.tcp(options: 40, Header.data(9))), payload: 9),
            PacketCase("IPv4 options, TCP", Header.ipv4(6, options: 40, Header.tcp(Header.data(7))), payload: 7),
            PacketCase("IPv4 UDP", Header.ipv4(17, Header.udp(Header.data(1472))), payload: 1472),
            PacketCase("IPv4 ICMP", Header.ipv4(1, Header.data(64)), payload: 64),
            PacketCase("IPv4, unknown protocol", Header.ipv4(253, Header.data(33)), payload: 33),
            PacketCase("IPv4, nothing inside", Header.ipv4(6, options: 0, fragment: 1, []), payload: 0),
            PacketCase(
                "IPv4 first fragment", Header.ipv4(17, fragment: 0x2000, Header.udp(Header.data(80))), payload: 80),
            PacketCase("IPv4 not to be fragmented", Header.ipv4(6, fragment: 0x4000, Header.tcp([1])), payload: 1),
            PacketCase("IPv4 middle fragment", Header.ipv4(6, fragment: 0x2001, Header.tcp()), payload: 20),
            PacketCase("IPv4 last fragment", Header.ipv4(17, fragment: 0x0100, Header.data(50)), payload: 50),
            PacketCase("IPv6 TCP", Header.ipv6(6, Header.tcp(options: 12, Header.data(1428))), payload: 1428),
            PacketCase("IPv6 ICMP", Header.ipv6(58, Header.data(24)), payload: 24),
            PacketCase("IPv6, nothing inside", Header.ipv6(59, []), payload: 0),
            PacketCase(
                "IPv6 hop by hop, TCP", Header.ipv6(0, Header.extension(next: 6, Header.tcp([1, 2]))), payload: 2),
            PacketCase(
                "IPv6 routing, UDP", Header.ipv6(43, Header.extension(next: 17, words: 3, Header.udp([1]))),
                payload: 1),
            PacketCase(
                "IPv6, all extensions",
                Header.ipv6(
                    0,
                    Header.extension(
                        next: 60,
                        Header.extension(
                            next: 43,
                            words: 5,
                            Header.extension(
                                next: 60, Header.extension(next: 6, words: 2, Header.tcp(Header.data(99))))))),
                payload: 99),
            PacketCase(
                "IPv6, long extension", Header.ipv6(60, Header.extension(next: 6, words: 200, Header.tcp([1]))),
                payload: 1),
            PacketCase("IPv6 fragment", Header.ipv6(44, Header.fragment(next: 6, Header.tcp())), payload: 28),
            PacketCase("IPv6 ESP", Header.ipv6(50, Header.data(70)), payload: 70),
        ]

    package static let malformed: [PacketCase] = [
        .malformed("a byte", [0x45]),
        .malformed("no IP version", [UInt8](repeating: 0, count: 60)),
        .malformed("IP version 5", [UInt8](repeating: 0x55, count: 60)),
        .malformed("IPv4 cut short", Array(Header.ipv4(6, Header.tcp()).prefix(19))),
        .malformed("IPv4 header length 4", [0x44] + Header.ipv4(6, Header.tcp()).dropFirst()),
        .malformed("IPv4 options beyond the end", [0x4f] + Header.ipv4(1, Header.data(30)).dropFirst()),
        .malformed("IPv4 TCP cut short", Array(Header.ipv4(6, Header.tcp()).prefix(39))),
        .malformed("IPv4 TCP data offset 4", Header.ipv4(6, Header.data(12) + [0x4f] + Header.data(20))),
        .malformed("IPv4 TCP options beyond the end", Array(Header.ipv4(6, Header.tcp(options: 40)).prefix(60))),
        .malformed("IPv4 UDP cut short", Array(Header.ipv4(17, Header.udp([])).prefix(27))),
        .malformed("IPv6 cut short", Array(Header.ipv6(6, []).prefix(39))),
        .malformed("IPv6 TCP cut short", Array(Header.ipv6(6, Header.tcp()).prefix(59))),
        .malformed("IPv6 extension cut short", Array(Header.ipv6(60, Header.extension(next: 6, [])).prefix(47))),
        .malformed("IPv6 extension beyond the end", Header.ipv6(60, [6, 100] + Header.data(6))),
    ]
}
