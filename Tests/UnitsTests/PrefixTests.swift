import Glibc
import TestSupport
import Testing
import Units

@Suite struct PrefixTests {
    @Test(arguments: [
        ("10.0.0.0/8", "10.0.0.0/8"), ("0.0.0.0/0", "0.0.0.0/0"), ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.1/32", "192.0.2.1/32"), ("255.255.255.255/32", "255.255.255.255/32"), ("128.0.0.0/1", "128.0.0.0/1"),
        ("100.64.0.0/10", "100.64.0.0/10"), ("::/0", "::/0"), ("::1", "::1/128"), ("fe80::/10", "fe80::/10"),
        ("2001:DB8::/32", "2001:db8::/32"), ("2001:db8:0:0:0:0:0:1", "2001:db8::1/128"), ("8000::/1", "8000::/1"),
        // IPv4, mapped.
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:0:0/96", "0.0.0.0/0"), ("::ffff:c000:201", "192.0.2.1/32"),
        // Around it, not.
        ("::fffe:0:0/95", "::fffe:0:0/95"), ("::/96", "::/96"), ("::10.0.0.0/104", "::10.0.0.0/104"),
    ])
    func `a prefix is read and written`(text: String, written: String) throws {
        let prefix = try Prefix(text)
        #expect("\(prefix)" == written)
        #expect(try Prefix(written) == prefix)
    }

    @Test func `an address of IPv4 is one of IPv6 that maps it`() throws {
        let prefix = try Prefix("192.0.2.0/24")
        #expect(prefix.bits == 120 && prefix.address == 0xffff_c000_0200)
        #expect(prefix.bytes == [UInt8](repeating: 0, count: 10) + [0xff, 0xff, 192, 0, 2, 0])
        #expect(try Prefix("::ffff:192.0.2.0/120") == prefix)
        #expect(try Prefix("0.0.0.0/0") == .ipv4)
    }

    @Test(arguments: [
        ("10.1.2.3/8", "10.0.0.0/8"), ("10.0.0.1/31", "10.0.0.0/31"), ("192.168.1.1/24", "192.168.1.0/24"),
        ("1.0.0.0/0", "0.0.0.0/0"), ("fe80::1/10", "fe80::/10"), ("2001:db8::1/127", "2001:db8::/127"),
        ("::1/0", "::/0"), ("::ffff:10.1.0.0/104", "10.0.0.0/8"), ("::ffff:0:0/95", "::fffe:0:0/95"),
    ])
    func `bits beyond the prefix are refused with what was meant`(text: String, meant: String) {
        let error = #expect(throws: InvalidQuantity.self) { try Prefix(text) }
        #expect(error?.description == "'\(text)' has bits beyond its prefix: did you mean \(meant)?")
    }

    @Test(arguments: [
        "", " ", "/", "/8", "10", "10/8", "10.0.0/8", "10.0.0.0.0", "256.0.0.0", "010.0.0.0", "0x0a.0.0.0", " 10.0.0.0",
        "10.0.0.0 /8", "localhost", "example.org/24", ":", ":::", "1::2::3", "12345::", "::g", "[::1]", "fe80::1%lo",
        "1:2:3:4:5:6:7:8:9", "10.0.0.0\0", "10.0.0.0\0/8", "１0.0.0.0", "٠.0.0.0", "10,0,0,0", "10.0.0.0:80", "-1",
        "all",
    ])
    func `what is no address is refused`(text: String) {
        let error = #expect(throws: InvalidQuantity.self) { try Prefix(text) }
        #expect(error?.description.hasPrefix("'\(text)' is not an address: give one such as 192.0.2.1") == true)
    }

    @Test(arguments: [
        ("10.0.0.0/33", 32), ("10.0.0.0/", 32), ("10.0.0.0/08", 32), ("10.0.0.0/00", 32), ("10.0.0.0/-1", 32),
        ("10.0.0.0/+8", 32), ("10.0.0.0/8/8", 32), ("10.0.0.0/255.0.0.0", 32), ("10.0.0.0/8 ", 32), ("10.0.0.0/٨", 32),
        ("10.0.0.0/99999999999999999999", 32), ("10.0.0.0/8\0", 32), ("::/129", 128), ("::/", 128), ("::/x", 128),
    ])
    func `what is no length is refused with what there is`(text: String, most: Int) {
        let error = #expect(throws: InvalidQuantity.self) { try Prefix(text) }
        #expect(
            error?.description.hasSuffix("is not a prefix: behind the slash goes how many bits count, 0 to \(most)")
                == true)
    }

    @Test(arguments: [32, 128])
    func `each prefix of a random address is read, and only without bits beyond it`(width: Int) throws {
        var random = SeededGenerator(seed: UInt64(width))
        for _ in 0..<20 {
            let bytes = (0..<width / 8).map { _ in UInt8.random(in: 0...255, using: &random) }
            for length in 0...width {
                let kept = bytes.enumerated().map { index, byte in
                    byte & ~UInt8(truncatingIfNeeded: 0xff >> max(0, min(8, length - index * 8)))
                }
                let prefix = try Prefix("\(text(kept))/\(length)")
                #expect(Array(prefix.bytes.suffix(width / 8)) == kept && prefix.bits == 128 - width + length)
                #expect(try Prefix("\(prefix)") == prefix)
                let refusal = "'\(text(bytes))/\(length)' has bits beyond its prefix: did you mean \(prefix)?"
                if kept != bytes {
                    #expect { try Prefix("\(text(bytes))/\(length)") } throws: { "\($0)" == refusal }
                }
            }
        }
    }

    /// In full, as the C library has a form of its own.
    private func text(_ bytes: [UInt8]) -> String {
        if bytes.count == 4 { return bytes.map { "\($0)" }.joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2).map { String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16) }
            .joined(separator: ":")
    }
}
