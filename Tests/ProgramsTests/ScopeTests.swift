import Glibc
import Kernel
import TestSupport
import Testing
import Units

@testable import Programs

/// A datagram between these addresses, both of one family.
private func datagram(from source: Prefix, to destination: Prefix) -> PacketCase {
    let isIPv4 = "\(source)".contains(".")
    var bytes = isIPv4 ? Header.ipv4(17, Header.udp([1, 2])) : Header.ipv6(17, Header.udp([1, 2]))
    let size = isIPv4 ? 4 : 16
    let addresses = source.bytes.suffix(size) + destination.bytes.suffix(size)
    bytes.replaceSubrange((isIPv4 ? 12 : 8)..<(isIPv4 ? 20 : 40), with: addresses)
    return PacketCase("\(source) to \(destination)", bytes, payload: 2)
}

extension ProgramSet {
    /// Limits that let one packet of each direction through.
    fileprivate init(for kernel: KernelVersion, _ scope: Scope) throws {
        let rates = Rates(down: .bytesPerSecond(1), up: .bytesPerSecond(1))
        try self.init(for: kernel, Limits(rates, burst: try TimeSpan("1ms"), counting: .payload), scope: scope)
    }

    /// Whether a packet from or to that peer counts as exempt, and as nothing else, or else not at all.
    fileprivate func exempts(_ peer: Prefix, _ direction: Direction, own: Prefix) throws -> Bool {
        let sample = direction == .down ? datagram(from: peer, to: own) : datagram(from: own, to: peer)
        let before = meter(direction)
        try call(.meter(direction), sample)
        var counters = meter(direction)
        #expect(counters.programCalls == before.programCalls + 1, "\(sample.testDescription)")
        let isExempt = counters.exemptPackets > before.exemptPackets
        if isExempt {
            #expect(counters.exemptBytes == before.exemptBytes + UInt64(sample.length))
            (counters.exemptPackets, counters.exemptBytes) = (before.exemptPackets, before.exemptBytes)
            #expect(counters == before)
        }
        return isExempt
    }
}

/// Which peers the meter limits.
extension KernelTests {
    @Suite struct ScopeTests {
        private static let local = [
            "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.255.255", "10.0.0.0", "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255", "192.168.0.0", "192.168.255.255", "100.64.0.0", "100.127.255.255", "0.0.0.0",
            "0.255.255.255",
            "224.0.0.0", "239.255.255.255", "255.255.255.255", "::1", "fe80::", "febf:ffff::1", "fc00::", "fdff::1",
            "ff00::",
            "ff02::1",
        ]
        private static let elsewhere = [
            "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "9.255.255.255", "11.0.0.0",
            "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "100.63.255.255", "100.128.0.0",
            "1.0.0.0",
            "223.255.255.255", "240.0.0.0", "255.255.255.254", "8.8.8.8", "::", "::2", "fec0::1", "fbff:ffff::1",
            "fe00::1",
            "fe7f:ffff::1", "2001:db8::1", "2606:4700::1111", "64:ff9b::7f00:1",
        ]
        private static let own = ["192.0.2.1", "2001:db8::1"]

        @Test func `all local networks are there`() {
            #expect(Scope.local.count == 13)
        }

        @Test(arguments: kernels, Peers.allCases)
        func `a scope divides the peers of both directions`(kernel: KernelVersion, peers: Peers) throws {
            let programs = try ProgramSet(for: kernel, Scope(peers))
            for direction in Direction.allCases {
                for (addresses, isLocal) in [(ScopeTests.local, true), (ScopeTests.elsewhere, false)] {
                    for address in addresses {
                        let own = try Prefix(ScopeTests.own[address.contains(":") ? 1 : 0])
                        let isExempt = try programs.exempts(Prefix(address), direction, own: own)
                        #expect(isExempt == (peers == .all ? false : isLocal == (peers == .internet)), "\(address)")
                    }
                }
            }
        }

        @Test(arguments: kernels, Direction.allCases)
        func `one's own address decides nothing`(kernel: KernelVersion, direction: Direction) throws {
            let (own, peer) = (try Prefix("10.0.0.1"), try Prefix("10.0.0.2"))
            let exempt = try ProgramSet(for: kernel, Scope(except: [own]))
            #expect(try !exempt.exempts(peer, direction, own: own))
            let limited = try ProgramSet(for: kernel, Scope(only: [own]))
            #expect(try limited.exempts(peer, direction, own: own))
        }

        @Test(arguments: kernels)
        func `what is exempt passes far over the limit, and takes nothing of it`(kernel: KernelVersion) throws {
            let (own, peer, other) = (try Prefix("10.0.0.1"), try Prefix("10.0.0.2"), try Prefix("10.0.0.3"))
            let programs = try ProgramSet(for: kernel, Scope(except: [peer]))
            let sample = datagram(from: peer, to: own)
            #expect(try programs.call(.meter(.down), sample, times: 1000) == 1)
            #expect(programs.meter(.down).exemptPackets == 1000)
            #expect(programs.meter(.down).exemptBytes == 1000 * UInt64(sample.length))
            #expect(programs.meter(.down).isAllExempt && programs.meter(.up) == Counters())
            // As if nothing had been before.
            #expect(try programs.call(.meter(.down), datagram(from: other, to: own)) == 1)
            #expect(try programs.call(.meter(.down), datagram(from: other, to: own)) == 0)
            #expect(!programs.meter(.down).isAllExempt && programs.meter(.down).programCalls == 1002)
        }

        @Test(arguments: kernels, Direction.allCases)
        func `what has no address is limited`(kernel: KernelVersion, direction: Direction) throws {
            let all = Scope(except: [try Prefix("0.0.0.0/0"), try Prefix("::/0")])
            let programs = try ProgramSet(for: kernel, all)
            let malformed = PacketCase.malformed.filter { sample in
                let version = sample.bytes[0] >> 4
                return version == 4 ? sample.bytes.count < 20 : version != 6 || sample.bytes.count < 40
            }
            #expect(malformed.count >= 4)
            for sample in malformed { try programs.call(.meter(direction), sample) }
            #expect(programs.meter(direction).exemptPackets == 0)
            #expect(programs.meter(direction).programCalls == UInt64(malformed.count))
            for sample in PacketCase.wellFormed { #expect(try programs.call(.meter(direction), sample) == 1) }
            #expect(programs.meter(direction).exemptPackets == UInt64(PacketCase.wellFormed.count))
        }

        @Test(arguments: kernels)
        func `as many prefixes as may be given fit, beside those of local networks`(kernel: KernelVersion) throws {
            // Nothing in common but their first bits, which makes for the most nodes.
            let many = try (0..<Scope.largest).map { try Prefix("2001:\(String($0 * 64, radix: 16))::\($0)") }
            let programs = try ProgramSet(for: kernel, Scope(.internet, except: Set(many)))
            let own = try Prefix("::1")
            for peer in many { #expect(try programs.exempts(peer, .down, own: own), "\(peer)") }
            #expect(try !programs.exempts(Prefix("2001:ffff::1"), .down, own: own))
        }

        @Test(arguments: kernels, 0..<8)
        func `the longest prefix of the peer's family decides`(kernel: KernelVersion, seed: UInt64) throws {
            var random = SeededGenerator(seed: seed)
            var (only, except): (Set<Prefix>, Set<Prefix>) = ([], [])
            // In a corner of each family, so that they overlap; rarely all of a family.
            for _ in 0..<40 {
                let prefix = try ScopeTests.prefix(&random)
                if only.contains(prefix) || except.contains(prefix) { continue }
                if Bool.random(using: &random) || seed < 4 { except.insert(prefix) } else { only.insert(prefix) }
            }
            let programs = try ProgramSet(for: kernel, Scope(only: only, except: except))
            for _ in 0..<300 {
                let peer = try ScopeTests.address(&random)
                let own = try Prefix(ScopeTests.own["\(peer)".contains(":") ? 1 : 0])
                let nearest = only.union(except).filter { ScopeTests.has($0, peer) }.max { $0.bits < $1.bits }
                let isLimited = nearest.map(only.contains) ?? only.isEmpty
                #expect(
                    try programs.exempts(peer, .down, own: own) == !isLimited, "\(peer), \(String(describing: nearest))"
                )
            }
        }

        private static func address(_ random: inout SeededGenerator) throws -> Prefix {
            let bits = UInt32.random(in: 0..<64, using: &random)
            return try Prefix(
                Bool.random(using: &random)
                    ? "192.0.\(bits / 16).\(bits % 16 * 16)" : "2001:db8::\(String(bits, radix: 16))")
        }

        private static func prefix(_ random: inout SeededGenerator) throws -> Prefix {
            let address = try address(&random)
            let width = "\(address)".contains(":") ? 128 : 32
            let most = min(width, 12)
            let isWhole = Int.random(in: 0..<20, using: &random) == 0
            let length = isWhole ? 0 : width - Int.random(in: 0...most, using: &random)
            // What is meant is said where bits are beyond it.
            let text = "\(address)".split(separator: "/")[0] + "/\(length)"
            do {
                return try Prefix(String(text))
            } catch {
                let meant = error.description.split(separator: " ").last.map { $0.dropLast() }
                return try Prefix(String(try #require(meant)))
            }
        }

        private static func has(_ prefix: Prefix, _ address: Prefix) -> Bool {
            let isIPv6 = { (prefix: Prefix) in "\(prefix)".contains(":") }
            let mask = ~(UInt128.max >> UInt128(prefix.bits))
            return isIPv6(prefix) == isIPv6(address) && address.address & mask == prefix.address
        }
    }
}
