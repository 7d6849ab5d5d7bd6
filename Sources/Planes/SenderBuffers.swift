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
        for process in processes {
            forEachSocket(of: process, isWanted: { seen.insert($0).inserted && !others.contains($0) }) {
                socket, inode in
                if !socket.isDatagram {
                    others.insert(inode)
                } else if let copy = try? Descriptor(copying: socket.rawValue) {
                    found[inode] = Socket(copy)
                }
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

    var sendBuffer: CInt? { descriptor.option(SO_SNDBUF) }

    /// The kernel doubles what it is told.
    func setSendBuffer(_ bytes: CInt) {
        var value = bytes / 2
        let size = socklen_t(MemoryLayout<CInt>.size)
        if setsockopt(rawValue, SOL_SOCKET, SO_SNDBUFFORCE, &value, size) < 0 {
            setsockopt(rawValue, SOL_SOCKET, SO_SNDBUF, &value, size)
        }
    }
}

extension Descriptor {
    fileprivate var isDatagram: Bool { option(SO_TYPE) == CInt(SOCK_DGRAM.rawValue) }

    /// Of level SOL_SOCKET.
    fileprivate func option(_ name: CInt) -> CInt? {
        var value: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        return getsockopt(rawValue, SOL_SOCKET, name, &value, &size) == 0 ? value : nil
    }
}
