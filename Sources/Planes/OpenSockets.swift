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

    /// Makes those of these processes the run's. Those that it has already stay so. `isRepeated`: whether what fails was told.
    package func adopt(_ processes: [pid_t], isRepeated: Bool = false) {
        let log = isRepeated ? Logger.silent : log
        var sending = 0
        var failure = forEachSocket(of: processes) { socket, _ in sending += socket.hasSentTCP ? 1 : 0 }
        if kernel < KernelVersion(6, 12) {
            log.info("connections that are open are paced at one rate, without window: that takes Linux 6.12")
        }
        let own = Host.networkCookie ?? 0
        let pacing = memory.rates.up.bytesPerSecond.map { max(1, $0 / UInt64(max(sending, 1))) }
        forEachSocket(of: processes) { socket, _ in
            let cookie = kernel >= KernelVersion(5, 15) ? socket.networkCookie ?? 0 : own
            let pacing = socket.isTCP ? pacing.map { (rate: $0, own: socket.pacingRate) } : nil
            do throws(Errno) {
                try memory.adopt(socket.rawValue, network: cookie == own ? 0 : cookie, pacing: pacing) {
                    if let pacing { socket.pace(pacing.rate) }
                }
            } catch {
                failure = failure ?? SystemError("mark", "an open socket", errno: error)
            }
        }
        if let failure { log.warning("what is open already is not limited, or not in a queue: \(failure)") }
        iterate(.enter, processes)
    }

    /// Gives those that are the run's back what they had: all of these processes', whenever they were made.
    package func release(_ processes: [pid_t]) {
        if processes.isEmpty { return }
        iterate(.leave, processes)
        // What iterators can't do before Linux 5.15, and what isn't TCP's.
        forEachSocket(of: processes) { socket, _ in
            if memory.release(socket.rawValue) && socket.isTCP { socket.pace(.max) }
        }
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
    fileprivate var isTCP: Bool { socketOption(SO_PROTOCOL, 0) == IPPROTO_TCP }

    /// Whether TCP has something that isn't acknowledged yet.
    fileprivate var hasSentTCP: Bool { isTCP && kernel_waiting_bytes(rawValue) > 0 }

    /// SO_MAX_PACING_RATE of asm-generic/socket.h.
    private static var maxPacingRate: CInt { 47 }

    /// In bytes a second.
    fileprivate var pacingRate: UInt64 { socketOption(Descriptor.maxPacingRate, 0) ?? .max }

    /// Has TCP pace it, in bytes a second.
    fileprivate func pace(_ bytesPerSecond: UInt64) { setSocketOption(Descriptor.maxPacingRate, bytesPerSecond) }
}
