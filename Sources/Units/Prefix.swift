import Glibc

/// Addresses that begin alike, as in `10.0.0.0/8`. An IPv4 address is the IPv6 address that maps it (::ffff:a.b.c.d).
package struct Prefix: Hashable, Sendable {
    /// 0 beyond `bits`.
    package let address: UInt128
    /// How many of the 128 count, 0 to 128.
    package let bits: Int

    /// All addresses of IPv4.
    package static let ipv4 = Prefix(address: 0xffff_0000_0000, bits: 96)

    private init(address: UInt128, bits: Int) {
        self.address = address
        self.bits = bits
    }

    /// Reads an address with the length of its prefix behind a slash, or an address alone, which is all of it.
    package init(_ text: String) throws(InvalidQuantity) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let (address, width) = Prefix.address(String(parts[0])) else {
            throw InvalidQuantity(
                description: "'\(text)' is not an address: give one such as 192.0.2.1 or 2001:db8::1, or a prefix such"
                    + " as 10.0.0.0/8 or 2001:db8::/32")
        }
        guard let length = parts.count == 1 ? width : Prefix.length(parts[1]), length <= width else {
            throw InvalidQuantity(
                description: "'\(text)' is not a prefix: behind the slash goes how many bits count, 0 to \(width)")
        }
        let bits = 128 - width + length
        // Shifting by the whole width gives 0.
        let kept = address & ~(UInt128.max >> UInt128(bits))
        let prefix = Prefix(address: kept, bits: bits)
        guard kept == address else {
            throw InvalidQuantity(description: "'\(text)' has bits beyond its prefix: did you mean \(prefix)?")
        }
        self = prefix
    }

    /// An address and how many bits it has.
    private static func address(_ text: String) -> (UInt128, width: Int)? {
        var bytes = [UInt8](repeating: 0, count: 16)
        // A C string would end there.
        if text.utf8.contains(0) { return nil }
        if inet_pton(AF_INET, text, &bytes) == 1 { return (ipv4.address | number(bytes.prefix(4)), 32) }
        if inet_pton(AF_INET6, text, &bytes) == 1 { return (number(bytes[...]), 128) }
        return nil
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt128 {
        bytes.reduce(0) { $0 << 8 | UInt128($1) }
    }

    /// Decimal digits, without zeros in front.
    private static func length(_ text: Substring) -> Int? {
        guard text.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }), text == "0" || text.first != "0"
        else { return nil }
        return Int(text)
    }

    /// Whether all of its addresses are IPv4's.
    private var isIPv4: Bool { bits >= 96 && address >> 32 == Prefix.ipv4.address >> 32 }

    /// The address's bytes, the first first.
    package var bytes: [UInt8] {
        stride(from: 120, through: 0, by: -8).map { UInt8(truncatingIfNeeded: address >> $0) }
    }
}

extension Prefix: CustomStringConvertible {
    package var description: String {
        if isIPv4 { return bytes.suffix(4).map { "\($0)" }.joined(separator: ".") + "/\(bits - 96)" }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        inet_ntop(AF_INET6, bytes, &text, socklen_t(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self) + "/\(bits)"
    }
}
