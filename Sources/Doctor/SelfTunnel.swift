import CKernel
import Glibc
import Kernel
import Logging
import Processes
import Programs
import Reports
import Runs
import SystemPackage
import Units

/// A run whose command receives datagrams by a device without Ethernet, as tunnels are. It writes them there itself.
package enum SelfTunnel {
    private static let milliseconds: UInt64 = 500
    /// Of the network that is for documentation (RFC 5737).
    private static let (own, peer): (UInt32, UInt32) = (0xc000_0201, 0xc000_0202)
    private static let port: UInt16 = 9
    private static let size = 1000

    /// Whether it waits in a queue, at its limit.
    static func finding(_ log: Logger, as caller: borrowing Caller) throws(SetupError) -> (Outcome, Finding) {
        let tunnel = try setting { () throws(SystemError) in
            try attempting("make", "a tun device") { () throws(Errno) in
                let descriptor = kernel_make_tunnel(own)
                if descriptor < 0 { throw Errno(rawValue: errno) }
                return Descriptor(owning: descriptor)
            }
        }
        var plan = SelfTest.plan
        plan.rates.up = .unlimited
        let command = Command(words: ["/proc/self/exe", "doctor", "--datagrams", "\(tunnel.rawValue)"])
        let (outcome, report) = try Run(plan, command, log: log).execute(as: caller)
        return (outcome, judge(outcome, report))
    }

    private static func judge(_ outcome: Outcome, _ report: Report) -> Finding {
        let ratio = Double(report.down.passedBytes) / Double(milliseconds) * 1000 / Double(SelfTest.rate)
        let planes = report.planes.map(\.rawValue).sorted().joined(separator: " ")
        let isWell = outcome == .exited(0) && report.planes.contains(.shape) && 0.6...1.5 ~= ratio
        return Finding(
            .selfTest, isWell ? .ok : .degraded,
            "\(fixed(ratio, digits: 2))x by a device without Ethernet, held by \(planes)",
            advice: isWell ? nil : report.obstacle)
    }

    /// What the command does: twice the limit comes in by the device. Returns whether anything arrives.
    package static func run(_ tunnel: CInt) -> Bool {
        let receiver = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(receiver, $0, size) }
        }
        guard result == 0 else { return false }
        let began = Host.monotonicNanoseconds
        let packet = datagram
        var (sent, hasArrived) = (UInt64(0), false)
        var buffer = [UInt8](repeating: 0, count: SelfTunnel.size)
        while case let elapsed = Host.monotonicNanoseconds - began, elapsed < milliseconds * 1_000_000 {
            while sent * UInt64(SelfTunnel.size) < 2 * SelfTest.rate * elapsed / 1_000_000_000 {
                write(tunnel, packet, packet.count)
                sent += 1
            }
            while recv(receiver, &buffer, buffer.count, CInt(MSG_DONTWAIT)) > 0 { hasArrived = true }
            usleep(1000)
        }
        return hasArrived
    }

    /// From the peer to us, without a checksum of its own (RFC 768).
    private static var datagram: [UInt8] {
        let length = UInt16(28 + size)
        var header: [UInt16] = [0x4500, length, 0, 0, 0x4011, 0]
        for address in [peer, own] { header += [UInt16(address >> 16), UInt16(address & 0xffff)] }
        let sum = header.reduce(UInt32(0)) { $0 + UInt32($1) }
        header[5] = ~UInt16((sum & 0xffff) + (sum >> 16))
        let words = header + [port, port, UInt16(8 + size), 0]
        return words.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] } + [UInt8](repeating: 0, count: size)
    }
}
