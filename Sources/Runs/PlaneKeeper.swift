import Cgroups
import Kernel
import Programs
import Units

/// What the guard sets up beyond the police, and keeps right. Its scope undoes it.
struct PlaneKeeper: ~Copyable {
    // Destroyed in this order: the last made goes first.
    private var shaper: Shaper?
    private let attachments: Attachments
    private let set: PlaneSet
    private let kernel: KernelVersion
    private let memory: RunMemory
    private let mode: Mode
    private let id: String
    private let channel: Channel
    private(set) var planes: Set<Plane> = []
    /// Why downloads aren't shaped, where they were to be.
    private(set) var obstacle: String?

    init(
        _ plan: RunPlan, _ kernel: KernelVersion, _ set: consuming PlaneSet, _ memory: RunMemory,
        _ cgroup: borrowing RunCgroup, _ method: AttachMethod, _ channel: Channel
    ) throws {
        var attachments = Attachments(log: channel.undoLog)
        try attachments.attach(.tcp, of: set, to: cgroup.run.descriptor, at: cgroup.run.path, by: method)
        self.attachments = attachments
        self.set = set
        self.kernel = kernel
        self.memory = memory
        self.channel = channel
        mode = plan.mode
        id = cgroup.id
        follow()
    }

    /// Makes the planes fit the limits. A queue that couldn't be set up, or that was lost, is tried again only
    /// if `retries`: that takes long, and many do this often.
    mutating func follow(retries: Bool = true) {
        let rates = memory.rates
        planes = []
        if rates.up != .unlimited { planes.insert(.pace) }
        if rates.down != .unlimited { planes.insert(.window) }
        guard case .bytesPerSecond(let rate) = rates.down, mode != .police, retries || obstacle == nil else {
            shaper?.stop()
            return
        }
        do throws(SystemError) {
            if shaper == nil { shaper = try Shaper(rate, memory, kernel, id, channel) }
            try shaper?.start(rate, set)
            planes.insert(.shape)
            obstacle = nil
        } catch {
            giveUp(error)
            channel.say(.obstacle, "\(error)")
        }
    }

    /// Does without the queue.
    private mutating func giveUp(_ error: SystemError) {
        shaper?.stop()
        shaper = nil
        planes.remove(.shape)
        obstacle = "\(error)"
    }

    /// Whether downloads waited in the queue at the last step.
    var isWaiting: Bool {
        switch shaper {
        case .some(let shaper): shaper.isWaiting
        case nil: false
        }
    }

    /// What to wait for until the next step: a descriptor that can be read when devices have changed, at most so many
    /// milliseconds. -1 stands for none.
    var waiting: (descriptor: CInt, milliseconds: CInt) {
        switch shaper {
        case .some(let shaper): (shaper.watchDescriptor, Shaper.stepMilliseconds)
        case nil: (-1, -1)
        }
    }

    mutating func step() {
        do throws(SystemError) {
            try shaper?.step(set)
        } catch {
            if planes.contains(.shape) { channel.say(.warning, "downloads don't wait in a queue any more: \(error)") }
            giveUp(error)
        }
    }

    mutating func stop() {
        shaper?.stop()
    }
}
