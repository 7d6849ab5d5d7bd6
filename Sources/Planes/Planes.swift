import Cgroups
import Kernel
import Logging
import Programs
import Units

/// What the guard sets up beyond the police, and keeps right. Its scope undoes it. The run's memory tells what is in force,
/// and what is in the way.
package struct Planes: ~Copyable {
    /// Between two looks at the queue while something moves, in ns.
    package static let period: UInt64 = 100_000_000

    // Destroyed in this order: the last made goes first.
    private var downloads: DownloadQueue?
    private let attachments: Attachments
    private let memory: RunMemory
    private let mode: Mode
    private let kernel: KernelVersion
    private let id: String
    private let sweeps: Bool
    private let log: Logger

    package init(
        _ memory: RunMemory, _ mode: Mode, _ kernel: KernelVersion, _ programs: borrowing TCPPrograms,
        _ cgroup: borrowing RunCgroup, _ method: AttachMethod, _ sweeps: Bool, _ log: Logger
    ) throws(SystemError) {
        var attachments = Attachments(log: log)
        try attachments.attach(.tcp, of: programs, to: cgroup.run.descriptor, at: cgroup.run.path, by: method)
        self.attachments = attachments
        self.memory = memory
        self.mode = mode
        self.kernel = kernel
        self.sweeps = sweeps
        self.log = log
        id = cgroup.id
        follow()
    }

    /// Makes the planes fit the limits. A queue that couldn't be set up, or that was lost, is tried again only if `retries`:
    /// that takes long, and many do this often.
    package mutating func follow(retries: Bool = true) {
        let rates = memory.rates
        let paced: Set<Plane> = rates.up == .unlimited ? [] : [.pace]
        guard case .bytesPerSecond(let rate) = rates.down else {
            downloads?.stop()
            memory.planes = paced
            memory.obstacle = nil
            return
        }
        if mode != .police && (retries || memory.obstacle == nil) { shape(rate) }
        let isShaped = mode != .police && memory.obstacle == nil
        memory.planes = paced.union(isShaped ? [.window, .shape] : [.window])
    }

    private mutating func shape(_ rate: UInt64) {
        do {
            if downloads == nil { downloads = try DownloadQueue(rate, memory, kernel, id, sweeps, log) }
            try downloads?.start(rate)
            memory.obstacle = nil
        } catch {
            giveUp(error)
            log.info("not shaped: \(error)")
        }
    }

    /// Does without the queue.
    private mutating func giveUp(_ error: any Error) {
        downloads?.stop()
        downloads = nil
        memory.planes.remove(.shape)
        memory.obstacle = memory.rates.down == .unlimited ? nil : "\(error)"
    }

    /// Whether downloads waited in the queue at the last step.
    package var isWaiting: Bool {
        switch downloads {
        case .some(let downloads): downloads.isWaiting
        case nil: false
        }
    }

    /// Readable when devices have changed; -1 where that doesn't matter.
    package var watchDescriptor: CInt {
        switch downloads {
        case .some(let downloads): downloads.watchDescriptor
        case nil: -1
        }
    }

    /// Whether there is a queue to be looked at.
    package var isShaping: Bool { downloads != nil }

    package mutating func step() {
        do throws(SystemError) {
            try downloads?.step()
        } catch {
            if memory.planes.contains(.shape) { log.warning("downloads don't wait in a queue any more: \(error)") }
            giveUp(error)
        }
    }

    package mutating func stop() {
        downloads?.stop()
    }
}
