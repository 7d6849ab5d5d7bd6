import Cgroups
import Devices
import Kernel
import Programs
import SystemPackage
import Units

/// What the guard sets up beyond the police, and keeps right. Its scope undoes it.
struct PlaneKeeper: ~Copyable {
    // Destroyed in this order: the last made goes first.
    private var shaper: Shaper?
    private let attachments: Attachments
    private let channel: Channel
    private(set) var planes: Set<Plane> = []

    init(
        _ plan: RunPlan, _ kernel: KernelVersion, _ set: consuming PlaneSet, _ programs: borrowing ProgramSet,
        _ cgroup: borrowing RunCgroup, _ method: AttachMethod, _ channel: Channel
    ) throws {
        let log = channel.undoLog
        var attachments = Attachments(log: log)
        try attachments.attach(.tcp, of: set, to: cgroup.run.descriptor, at: cgroup.run.path, by: method)
        if plan.up != .unlimited { planes.insert(.pace) }
        if plan.down != .unlimited { planes.insert(.window) }
        if case .bytesPerSecond(let rate) = plan.down, plan.mode != .police {
            do throws(SystemError) {
                shaper = try Shaper(rate, plan.counting, kernel, cgroup.id, set, channel, log)
                try shaper?.start(programs)
                planes.insert(.shape)
            } catch {
                shaper = nil
                channel.say(.obstacle, "\(error)")
            }
        }
        self.attachments = attachments
        self.channel = channel
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
        shaper?.step(programs)
    }

    mutating func stop(_ programs: borrowing ProgramSet) {
        shaper?.stop(programs)
    }
}
