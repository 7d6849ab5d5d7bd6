import CPrograms
import Foundation
import Kernel
import SystemPackage

@testable import Devices

/// Sends on loopback as much as a queue takes, in one thread: datagrams with the priority of the rest, and a TCP stream
/// with that of TCP. Both as far as they are wanted.
struct Load: ~Copyable {
    /// Receiver and sender.
    private let datagrams: [CInt]
    /// Both ends of a connection, or none.
    private let streams: [CInt]
    private let datagram: [UInt8]
    private var buffer = [UInt8](repeating: 0, count: 1 << 17)

    /// Redirects all that leaves through loopback to `queue`.
    static func feed(_ queue: borrowing Queue) throws {
        let name = try NetworkNamespace.current().routeSocket().device(queue.device).name
        try shell("tc qdisc add dev lo clsact")
        try shell(
            "tc filter add dev lo egress protocol ip u32 match u32 0 0 action mirred egress redirect dev \(name)")
    }

    init(datagram size: Int?, tcp: Bool) throws {
        let datagrams = try Load.pair(SOCK_DGRAM, THROTTLE_REST_CLASS.rawValue)
        let streams = tcp ? try Load.stream() : []
        datagram = [UInt8](repeating: 0, count: size ?? 0)
        self.datagrams = datagrams
        self.streams = streams
    }

    deinit {
        for socket in datagrams + streams { close(socket) }
    }

    /// Sends for that many seconds, datagrams at most at `rate` bytes a second, and returns the seconds it took.
    mutating func run(_ seconds: Double, rate: Double) -> Double {
        let start = Host.monotonicNanoseconds
        var sent = 0.0
        while true {
            let elapsed = Double(Host.monotonicNanoseconds - start) / 1e9
            if elapsed >= seconds { return elapsed }
            while !datagram.isEmpty, sent < rate * elapsed {
                _ = send(datagrams[1], datagram, datagram.count, CInt(MSG_DONTWAIT))
                sent += Double(datagram.count)
            }
            while recv(datagrams[0], &buffer, buffer.count, CInt(MSG_DONTWAIT)) > 0 {}
            if streams.count == 2 {
                while send(streams[0], buffer, buffer.count, CInt(MSG_DONTWAIT)) > 0 {}
                while recv(streams[1], &buffer, buffer.count, CInt(MSG_DONTWAIT)) > 0 {}
            }
            usleep(300)
        }
    }

    /// A socket bound to a port of loopback and one connected to it, both of that priority.
    private static func pair(_ type: __socket_type, _ priority: UInt32) throws -> [CInt] {
        let sockets = [0, 1].map { _ in socket(AF_INET, CInt(type.rawValue), 0) }
        for descriptor in sockets {
            setPriority(descriptor, priority)
            var size: CInt = 4 << 20
            setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &size, 4)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, 4)
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        try withUnsafeMutablePointer(to: &address) { address in
            try address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard bind(sockets[0], address, length) == 0, getsockname(sockets[0], address, &length) == 0,
                    type == SOCK_DGRAM || listen(sockets[0], 1) == 0,
                    connect(sockets[1], address, length) == 0
                else { throw SystemError("connect", "loopback") }
            }
        }
        return sockets
    }

    /// Both ends of a TCP connection.
    private static func stream() throws -> [CInt] {
        let sockets = try pair(SOCK_STREAM, THROTTLE_TCP_CLASS.rawValue)
        defer { close(sockets[0]) }
        let far = accept(sockets[0], nil, nil)
        guard far >= 0 else { throw SystemError("accept", "a connection") }
        // It doesn't inherit the listener's, and its acknowledgements must not wait behind datagrams.
        setPriority(far, THROTTLE_TCP_CLASS.rawValue)
        return [sockets[1], far]
    }

    private static func setPriority(_ socket: CInt, _ priority: UInt32) {
        var priority = CInt(priority)
        setsockopt(socket, SOL_SOCKET, SO_PRIORITY, &priority, 4)
    }
}
