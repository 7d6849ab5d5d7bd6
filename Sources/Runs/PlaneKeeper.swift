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
    private let id: String
    private let channel: Channel
    private(set) var planes: Set<Plane> = []
    /// Why downloads aren't shaped, where they were to be.
    private(set) var obstacle: String?

    init(
        _ plan: RunPlan, _ kernel: KernelVersion, _ set: consuming PlaneSet, _ programs: borrowing ProgramSet,
        _ cgroup: borrowing RunCgroup, _ method: AttachMethod, _ channel: Channel
    ) throws {
        var attachments = Attachments(log: channel.undoLog)
        try attachments.attach(.tcp, of: set, to: cgroup.run.descriptor, at: cgroup.run.path, by: method)
        self.attachments = attachments
        self.set = set
        self.kernel = kernel
        self.channel = channel
        id = cgroup.id
        follow(plan, programs)
    }

    /// Makes the planes fit the limits of `plan`. A queue that couldn't be set up, or that was lost, is tried again only
    /// if `retries`: that takes long, and many do this often.
    mutating func follow(_ plan: RunPlan, _ programs: borrowing ProgramSet, retries: Bool = true) {
        planes = []
        if plan.rate(.up) != .unlimited { planes.insert(.pace) }
        if plan.rate(.down) != .unlimited { planes.insert(.window) }
        guard case .bytesPerSecond(let rate) = plan.rate(.down), plan.mode != .police, retries || obstacle == nil else {
            shaper?.stop(programs)
            return
        }
        do throws(SystemError) {
            if shaper == nil { shaper = try Shaper(rate, plan.counting, kernel, id, channel) }
            try shaper?.start(rate, set, programs)
            planes.insert(.shape)
            obstacle = nil
        } catch {
            giveUp(error, programs)
            channel.say(.obstacle, "\(error)")
        }
    }

    /// Does without the queue.
    private mutating func giveUp(_ error: SystemError, _ programs: borrowing ProgramSet) {
        shaper?.stop(programs)
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

    mutating func step(_ programs: borrowing ProgramSet) {
        do throws(SystemError) {
            try shaper?.step(set, programs)
        } catch {
            if planes.contains(.shape) { channel.say(.warning, "downloads don't wait in a queue any more: \(error)") }
            giveUp(error, programs)
        }
    }

    mutating func stop(_ programs: borrowing ProgramSet) {
        shaper?.stop(programs)
    }
}
