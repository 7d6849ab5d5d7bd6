import Cgroups
import Kernel
import Logging
import Programs
import Units

/// What the guard sets up beyond the police, and keeps right. Its scope undoes it. The run's memory tells what is in force,
/// and what is in the way.
struct Planes: ~Copyable {
    // Destroyed in this order: the last made goes first.
    private var shaper: Shaper?
    private let attachments: Attachments
    private let memory: RunMemory
    private let mode: Mode
    private let kernel: KernelVersion
    private let id: String
    private let sweep: Sweep
    private let log: Logger

    init(
        _ memory: RunMemory, _ mode: Mode, _ kernel: KernelVersion, _ programs: borrowing TCPPrograms,
        _ cgroup: borrowing RunCgroup, _ method: AttachMethod, _ sweep: Sweep, _ log: Logger
    ) throws(SystemError) {
        var attachments = Attachments(log: log)
        try attachments.attach(.tcp, of: programs, to: cgroup.run.descriptor, at: cgroup.run.path, by: method)
        self.attachments = attachments
        self.memory = memory
        self.mode = mode
        self.kernel = kernel
        self.sweep = sweep
        self.log = log
        id = cgroup.id
        follow()
    }

    /// Makes the planes fit the limits. A queue that couldn't be set up, or that was lost, is tried again only if `retries`:
    /// that takes long, and many do this often.
    mutating func follow(retries: Bool = true) {
        let rates = memory.rates
        let paced: Set<Plane> = rates.up == .unlimited ? [] : [.pace]
        guard case .bytesPerSecond(let rate) = rates.down else {
            shaper?.stop()
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
            if shaper == nil { shaper = try Shaper(rate, memory, kernel, id, sweep, log) }
            try shaper?.start(rate)
            memory.obstacle = nil
        } catch {
            giveUp(error)
            log.info("not shaped: \(error)")
        }
    }

    /// Does without the queue.
    private mutating func giveUp(_ error: any Error) {
        shaper?.stop()
        shaper = nil
        memory.planes.remove(.shape)
        memory.obstacle = memory.rates.down == .unlimited ? nil : "\(error)"
    }

    /// Whether downloads waited in the queue at the last step.
    var isWaiting: Bool {
        switch shaper {
        case .some(let shaper): shaper.isWaiting
        case nil: false
        }
    }

    /// Readable when devices have changed; -1 where that doesn't matter.
    var watchDescriptor: CInt {
        switch shaper {
        case .some(let shaper): shaper.watchDescriptor
        case nil: -1
        }
    }

    /// Whether there is a queue to be looked at.
    var isShaping: Bool { shaper != nil }

    mutating func step() {
        do throws(SystemError) {
            try shaper?.step()
        } catch {
            if memory.planes.contains(.shape) { log.warning("downloads don't wait in a queue any more: \(error)") }
            giveUp(error)
        }
    }

    mutating func stop() {
        shaper?.stop()
    }
}
