import CKernel
import Glibc
import Kernel
import Processes
import Programs

/// The send buffers of the run's sockets but TCP's, kept so small that what they have waiting in the queue for uploads is
/// sent soon: the senders wait instead. None is made larger than it was.
struct SenderBuffers {
    /// Seconds of the rate, of which each that sends has its part.
    private static let wait = 0.2
    /// Memory for each byte of a packet: that of Ethernet's largest, and so more than what waits is never counted.
    private static let overhead = 1.5
    /// In bytes. A datagram in fragments that take twice the buffer can't be sent at all, however long one waits.
    private static let least = 16_384.0

    /// In bytes of memory, as SO_SNDBUF tells them.
    private struct Size {
        let own: CInt
        let ours: CInt
    }

    private var bounded: [UInt64: Size] = [:]
    /// Whose they are: what runs already may have left the run when it is given back.
    private var processes: [pid_t] = []
    /// Inodes of other sockets.
    private var others: Set<UInt64> = []

    /// Bounds those of these processes, for a rate in bytes a second. `isFirst`: before any of them waits, so that each may.
    mutating func bound(_ processes: [pid_t], _ rate: UInt64, _ memory: RunMemory, isFirst: Bool) {
        self.processes = processes
        let sockets = find(processes)
        let active = isFirst ? sockets.count : sockets.count { kernel_waiting_bytes($0.value.rawValue) > 0 }
        let wanted = Double(rate) * SenderBuffers.wait * SenderBuffers.overhead / Double(max(active, 1))
        for (inode, socket) in sockets {
            guard let size = socket.sendBuffer, let largest = memory.largestDatagram(of: socket.rawValue) else {
                continue
            }
            // Its user may have changed it since.
            let own = bounded[inode].map { $0.ours == size ? $0.own : size } ?? size
            let least = max(SenderBuffers.least, Double(largest))
            socket.setSendBuffer(CInt(min(max(wanted, least), Double(own))))
            bounded[inode] = Size(own: own, ours: socket.sendBuffer ?? own)
        }
        bounded = bounded.filter { sockets[$0.key] != nil }
    }

    /// Gives them back what they had.
    mutating func release(_ processes: [pid_t]) {
        if bounded.isEmpty { return }
        for (inode, socket) in find(Array(Set(processes + self.processes))) {
            if let size = bounded[inode], socket.sendBuffer == size.ours { socket.setSendBuffer(size.own) }
        }
        bounded = [:]
    }

    /// By inode.
    private mutating func find(_ processes: [pid_t]) -> [UInt64: Socket] {
        var found: [UInt64: Socket] = [:]
        var seen: Set<UInt64> = []
        let isWanted = { (inode: UInt64) in
            seen.insert(inode)
            return !others.contains(inode)
        }
        forEachSocket(of: processes, isWanted: isWanted) { socket, inode in
            if socket.socketOption(SO_TYPE, 0) != CInt(SOCK_DGRAM.rawValue) {
                others.insert(inode)
            } else if let copy = try? Descriptor(copying: socket.rawValue) {
                found[inode] = Socket(copy)
            }
        }
        others.formIntersection(seen)
        return found
    }
}

/// One that is ours for a moment: another process has it open.
private final class Socket {
    private let descriptor: Descriptor

    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    var rawValue: CInt { descriptor.rawValue }

    var sendBuffer: CInt? { descriptor.socketOption(SO_SNDBUF, 0) }

    /// The kernel doubles what it is told.
    func setSendBuffer(_ bytes: CInt) {
        if !descriptor.setSocketOption(SO_SNDBUFFORCE, bytes / 2) { descriptor.setSocketOption(SO_SNDBUF, bytes / 2) }
    }
}
