import Cgroups
import Glibc
import Kernel
import Logging
import Processes
import Programs
import Reports
import SystemPackage

/// A run that is set up on the system. Its scope undoes that, in reverse: the guard takes the planes down, while we undo
/// the rest, and hears of it when all is gone.
package struct Limiter: ~Copyable {
    // Destroyed in this order.
    private var hold: RunHold
    private let member: Membership?
    private let line: GuardLine
    let memory: RunMemory

    package init(_ plan: RunPlan, _ command: Command, log: Logger) throws(SetupError) {
        let kernel = try checkRequirements()
        log.debug("kernel \(Host.kernelRelease)")
        let base = try Limiter.base(plan, log)
        let records = Limiter.records(log)
        var entry = try GroupEntry(plan, from: base.path, records)
        let memory = try Limiter.makeMemory(plan, kernel, entry, log)
        let member = try Limiter.join(entry, plan, memory, log)
        // From here on, the guard removes what a kill leaves.
        let line = GuardLine(
            to: try Limiter.startGuard(plan, command, kernel, memory, base, records, member, log))
        let programs = try Limiter.load(kernel, memory, log)
        let cgroup: RunCgroup
        do {
            cgroup = try RunCgroup(in: base, log: log)
        } catch {
            throw SetupError(error)
        }
        let record = try Limiter.record(plan, command, cgroup, member, in: records, log)
        // Others find the run from now on.
        entry = nil
        var attachments = Attachments(log: log)
        memory.hasWitness = try Limiter.attachWitness(&attachments, programs, cgroup, plan.attach, log)
        let method = try Limiter.attachMeters(&attachments, programs, cgroup, plan, log)
        if let guardProcess = line.guardProcess {
            Limiter.attachTCP(&attachments, guardProcess.takePrograms(), cgroup, method, memory, log)
        }
        let hold = RunHold(cgroup, record, attachments, method)
        try Limiter.handOver(hold, to: line.guardProcess, plan, memory, log)
        self.line = line
        self.hold = hold
        self.member = member
        self.memory = memory
    }

    deinit { guardProcess?.end() }

    /// nil where there never was one.
    var guardProcess: GuardProcess? { line.guardProcess }

    var id: String { hold.cgroup.id }

    /// How programs were attached.
    package var method: AttachMethod { hold.method }

    /// The open directory of the cgroup to start the command in.
    var cgroupDescriptor: CInt { hold.cgroup.run.descriptor.rawValue }

    /// What there is to say of the run so far.
    func report(_ subject: Report.Subject) -> Report {
        hold.report(subject, memory, member)
    }

    /// How many processes the run has.
    var population: Int { hold.cgroup.run.population }

    /// Waits until none is left, or a signal comes that would end us: that goes to all of them.
    func waitUntilEmpty(as caller: borrowing Caller) throws(SystemError) {
        let path = hold.cgroup.run.path
        let events = try attempting("wait for", path) { () throws(Errno) in try hold.cgroup.run.events() }
        while events.isPopulated {
            if let signal = try caller.awaitChange(of: events.descriptor) {
                return hold.cgroup.run.send(signal)
            }
        }
    }

    /// Ends the run, and undoes everything unless its guard is to keep limiting what the command left behind. Returns
    /// how many processes that were and what became of them.
    package consuming func end(_ linger: Linger) -> (Int, Linger) {
        let left = population
        // They end with process 1, and so does the guard.
        let linger = getpid() == 1 ? .kill : linger
        if left > 0 && linger == .kill { hold.cgroup.run.killProcesses() }
        if left == 0 || linger == .kill { return (left, linger) }
        if linger == .release || guardProcess?.isAlive != true {
            // First, as the guard ends when nothing runs any more.
            let released = hold.cgroup.release()
            // What couldn't be moved stays limited while there is a guard for it.
            if population == 0 || guardProcess?.isAlive != true { return (released, .release) }
        }
        guardProcess?.leave()
        member?.handOver()
        hold.leave()
        return (left, .keep)
    }
}
