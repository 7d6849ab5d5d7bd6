import CKernel
import Cgroups
import Devices
import Kernel
import Programs
import SystemPackage
import Units

/// What the guard sets up beyond the police, and keeps right until its run ends. Its scope undoes it.
struct PlaneKeeper: ~Copyable {
    // Destroyed in this order: the last made goes first.
    private var shaper: Shaper?
    private let attachments: Attachments
    private let channel: Channel
    private(set) var planes: Set<Plane> = []

    init(
        _ plan: RunPlan, _ kernel: KernelVersion, _ programs: borrowing ProgramSet, _ cgroup: borrowing RunCgroup,
        _ method: AttachMethod, _ channel: Channel
    ) throws {
        let log: UndoLog = { line, isFailure in channel.say(isFailure ? .warning : .debug, line) }
        let set = try PlaneSet(sharing: programs)
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

    /// Keeps the planes up until the other end of the channel is closed.
    mutating func keep(_ programs: borrowing ProgramSet) {
        while true {
            let isShaping = shaper != nil
            let ready = kernel_await_input(
                channel.descriptor, shaper?.watchDescriptor ?? -1, isShaping ? Shaper.stepMilliseconds : -1)
            if ready & 1 != 0 { break }
            shaper?.step(programs)
        }
        shaper?.stop(programs)
    }
}
