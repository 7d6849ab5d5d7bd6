import CKernel
import Devices
import Glibc
import Kernel
import Logging
import Processes
import Programs
import SystemPackage

/// Sockets that processes had open before the run came to them.
package struct OpenSockets {
    private let memory: RunMemory
    private let kernel: KernelVersion
    private let log: Logger

    package init(_ memory: RunMemory, _ kernel: KernelVersion, _ log: Logger) {
        self.memory = memory
        self.kernel = kernel
        self.log = log
    }

    /// Makes those of these processes the run's. Those that it has already stay so.
    package func adopt(_ processes: [pid_t]) {
        var sending = 0
        if let failure = each(of: processes, { sending += $0.hasSentTCP ? 1 : 0 }) {
            log.warning("what is open already is not limited, or not in a queue: \(failure)")
        }
        if kernel < KernelVersion(6, 12) {
            log.info("connections that are open are paced at one rate, without window: that takes Linux 6.12")
        }
        let own = Host.networkCookie ?? 0
        let pacing = memory.rates.up.bytesPerSecond.map { max(1, $0 / UInt64(max(sending, 1))) }
        each(of: processes) { socket in
            let cookie = kernel >= KernelVersion(5, 15) ? socket.networkCookie : own
            // Before the first packet that is charged: TCP may have megabytes to send at once.
            let before = socket.pacingRate
            if let pacing, socket.isTCP { socket.pace(pacing) }
            memory.adopt(
                socket.rawValue, network: cookie == own ? 0 : cookie,
                pacing: socket.isTCP ? pacing.map { ($0, before) } : nil)
        }
        iterate(.enter, processes)
    }

    /// Each socket once. Returns why some couldn't be reached.
    @discardableResult
    private func each(of processes: [pid_t], _ body: (borrowing Descriptor) -> Void) -> SystemError? {
        var seen: Set<UInt64> = []
        var failure: SystemError?
        for process in processes {
            let refused = forEachSocket(of: process, isWanted: { seen.insert($0).inserted }) { socket, _ in body(socket)
            }
            failure = failure ?? refused
        }
        return failure
    }

    /// Gives those that are the run's back what they had: all of these processes', whenever they were made.
    package func release(_ processes: [pid_t]) {
        if processes.isEmpty { return }
        iterate(.leave, processes)
        // What iterators can't do before Linux 5.15, and what isn't TCP's.
        each(of: processes) { if memory.release($0.rawValue) && $0.isTCP { $0.pace(.max) } }
    }

    /// In each network namespace that the processes are in.
    private func iterate(_ purpose: OpenPrograms.Purpose, _ processes: [pid_t]) {
        if kernel < OpenPrograms.oldestKernel { return }
        do {
            let programs = try OpenPrograms(sharing: memory.maps)
            var seen: Set<UInt64> = []
            for process in processes {
                guard let network = try? NetworkNamespace.of(process: process), seen.insert(network.inode).inserted
                else { continue }
                try network.inside { () throws(SystemError) in try programs.run(purpose) }
            }
        } catch {
            log.info("open connections are limited by police, without pace and window: \(error)")
        }
    }
}

extension Descriptor {
    /// That of a socket's network namespace (SO_NETNS_COOKIE, Linux 5.14); 0 where it can't be told.
    fileprivate var networkCookie: UInt64 {
        var cookie: UInt64 = 0
        var size = socklen_t(MemoryLayout<UInt64>.size)
        return getsockopt(rawValue, SOL_SOCKET, 71, &cookie, &size) == 0 ? cookie : 0
    }

    fileprivate var isTCP: Bool {
        var (protocolNumber, size) = (CInt(0), socklen_t(MemoryLayout<CInt>.size))
        return getsockopt(rawValue, SOL_SOCKET, SO_PROTOCOL, &protocolNumber, &size) == 0
            && protocolNumber == IPPROTO_TCP
    }

    /// Whether TCP has something that isn't acknowledged yet.
    fileprivate var hasSentTCP: Bool { isTCP && kernel_waiting_bytes(rawValue) > 0 }

    /// SO_MAX_PACING_RATE, in bytes a second.
    fileprivate var pacingRate: UInt64 {
        var (rate, size) = (UInt64.max, socklen_t(MemoryLayout<UInt64>.size))
        return getsockopt(rawValue, SOL_SOCKET, 47, &rate, &size) == 0 ? rate : .max
    }

    /// Has TCP pace it (SO_MAX_PACING_RATE), in bytes a second.
    fileprivate func pace(_ bytesPerSecond: UInt64) {
        var rate = bytesPerSecond
        setsockopt(rawValue, SOL_SOCKET, 47, &rate, socklen_t(MemoryLayout<UInt64>.size))
    }
}
