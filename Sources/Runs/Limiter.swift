import Cgroups
import Commands
import Glibc
import Kernel
import Logging
import Programs
import Records
import SystemPackage
import Units

/// All that a run sets up on the system. Its scope undoes it, in reverse.
struct Limiter: ~Copyable {
    // Destroyed in this order: the last made goes first, and when all is gone the guard hears of it.
    let guardProcess: Guard?
    private var attachments: Attachments
    private let record: RecordFile?
    private let cgroup: RunCgroup
    private let programs: ProgramSet
    let memory: RunMemory
    private let member: Membership?
    private let line: GuardLine?
    let method: AttachMethod
    let hasWitness: Bool

    init(_ plan: RunPlan, _ command: Command, log: Logger) throws(SetupError) {
        let kernel = try checkRequirements()
        log.debug("kernel \(Host.kernelRelease)")
        let base = try Limiter.base(plan, log)
        let records = Limiter.records(log)
        var entry = try GroupEntry(plan, from: base.path, records)
        let programs = try Limiter.load(plan, kernel, entry, log)
        let member = try Limiter.join(entry, plan, programs.memory, log)
        // From here on, the guard removes what a kill leaves.
        let guardProcess = try Limiter.startGuard(plan, command, kernel, programs, base, records, member, log)
        let cgroup: RunCgroup
        do {
            cgroup = try RunCgroup(in: base, log: Limiter.undoLog(log))
        } catch {
            throw SetupError(error)
        }
        let record = try Limiter.record(plan, command, cgroup, member, in: records, log)
        // Others find the run from now on.
        entry = nil
        var attachments = Attachments(log: Limiter.undoLog(log))
        let hasWitness = try Limiter.attachWitness(&attachments, programs, cgroup, plan.attach, log)
        let method = try Limiter.attachMeters(&attachments, programs, cgroup, plan, log)
        try Limiter.share(with: guardProcess, plan, programs.memory, attachments, record, cgroup, method, log)
        self.method = method
        self.guardProcess = guardProcess
        self.hasWitness = hasWitness
        self.attachments = attachments
        self.record = record
        self.cgroup = cgroup
        memory = programs.memory
        self.programs = programs
        self.member = member
        line = guardProcess?.line
        if guardProcess?.isAlive != true { holdAlone() }
    }

    var id: String { cgroup.id }

    /// The open directory of the cgroup to start the command in.
    var cgroupDescriptor: CInt { cgroup.run.descriptor.rawValue }

    /// Writes into the report what there is to say of the run so far.
    func fill(_ report: inout Report) {
        report.id = id
        report.method = method
        report.take(memory, member, guardProcess?.planes ?? [])
        report.obstacle = guardProcess?.obstacle
        if !hasWitness { report.forgetWitness() }
    }

    /// How many processes the run has.
    var population: Int { cgroup.run.population }

    /// Holds the limit without the guard. Nobody tells the run's share of its group any more: its budget holds.
    func holdAlone() {
        if member != nil { memory.rates = memory.mostRates }
    }

    /// Waits until none is left, or a signal comes that would end us: that goes to all of them.
    func waitUntilEmpty(as caller: borrowing Caller) throws(SystemError) {
        let events = try attempting("wait for", cgroup.run.path) { () throws(Errno) in try cgroup.run.events() }
        while events.isPopulated {
            if let signal = try caller.awaitChange(of: events.descriptor) {
                return cgroup.run.send(signal)
            }
        }
    }

    /// Ends the run, and undoes everything unless its guard is to keep limiting what the command left behind. Returns
    /// how many processes that were and what became of them.
    consuming func end(_ linger: Linger) -> (Int, Linger) {
        let left = population
        // They end with process 1, and so does the guard.
        let linger = getpid() == 1 ? .kill : linger
        if left > 0 && linger == .kill { cgroup.run.killProcesses() }
        if left == 0 || linger == .kill {
            guardProcess?.end()
            return (left, linger)
        }
        if linger == .release || guardProcess?.isAlive != true {
            // First, as the guard ends when nothing runs any more.
            let released = cgroup.release()
            // What couldn't be moved stays limited while there is a guard for it.
            if population == 0 || guardProcess?.isAlive != true {
                guardProcess?.end()
                return (released, .release)
            }
        }
        guardProcess?.leave()
        member?.handOver()
        attachments.leave()
        switch consume record {
        case .some(let record): record.leave()
        case nil: break
        }
        cgroup.leave()
        return (left, .keep)
    }

    static func undoLog(_ log: Logger) -> UndoLog {
        { line, isFailure in log.log(level: isFailure ? .warning : .debug, "\(line)") }
    }

    /// The cgroup to make the run's in, without what dead runs left there.
    private static func base(_ plan: RunPlan, _ log: Logger) throws(SetupError) -> CgroupDirectory {
        try setting { () throws(SystemError) in
            let base =
                if let path = plan.cgroupParent { try CgroupDirectory(opening: path) } else {
                    try CgroupDirectory.ofCaller()
                }
            for name in plan.sweeps ? base.sweep() : [] {
                log.debug("removed cgroup \(base.path)/\(name), left by a dead run")
            }
            return base
        }
    }

    /// Where runs are recorded. Without it, the limit still holds.
    private static func records(_ log: Logger) -> RecordDirectory? {
        do {
            return try RecordDirectory.ofCaller()
        } catch {
            log.info("\(unrecorded): \(error)")
            return nil
        }
    }

    private static let unrecorded = "not recorded, so not known to throttle cleanup"

    /// Writes down what runs here, for `throttle list`, `cleanup` and the like, and for those who join its group.
    private static func record(
        _ plan: RunPlan, _ command: Command, _ cgroup: borrowing RunCgroup, _ member: Membership?,
        in records: RecordDirectory?, _ log: Logger
    ) throws(SetupError) -> RecordFile? {
        guard let records else { return nil }
        let text = RunRecord(
            id: cgroup.id, name: plan.name ?? command.words[0], command: command.words, cgroup: cgroup.parent.path,
            down: plan.rates.down.bytesPerSecond, up: plan.rates.up.bytesPerSecond, group: member?.name)
        do throws(SystemError) {
            let record = try records.record(text.id)
            try record.write(text)
            return record
        } catch {
            // Nobody would find this run's budget, and the next one would begin another.
            if let group = text.group { throw SetupError("can't join group '\(group)': \(error)") }
            log.info("\(unrecorded): \(error)")
            return nil
        }
    }

    private static func load(
        _ plan: RunPlan, _ kernel: KernelVersion, _ entry: GroupEntry?, _ log: Logger
    ) throws(SetupError) -> ProgramSet {
        do throws(LoadError) {
            let programs = try ProgramSet(
                for: kernel, plan.limits, scope: plan.scope, budget: entry?.budget ?? .none)
            log.debug("loaded the programs \(ProgramSet.variant(for: kernel))")
            return programs
        } catch {
            for line in error.log { log.debug("\(line)") }
            throw SetupError(error)
        }
    }

    /// Makes the run one of its group, and holds it to what that lets it have.
    private static func join(
        _ entry: GroupEntry?, _ plan: RunPlan, _ memory: RunMemory, _ log: Logger
    ) throws(SetupError) -> Membership? {
        guard let entry, let budget = memory.group else {
            if let group = plan.group { log.info("in group '\(group)' already, by a run around this one") }
            return nil
        }
        do throws(SystemError) {
            let member = try Membership(entry, memory, budget)
            memory.rates = member.share
            log.info("one of \(member.runs) in group '\(member.name)'")
            return member
        } catch {
            throw SetupError(error)
        }
    }

    /// Starts what makes the limit lossless, and outlives us. Without it, it still holds.
    private static func startGuard(
        _ plan: RunPlan, _ command: Command, _ kernel: KernelVersion, _ programs: borrowing ProgramSet,
        _ base: borrowing CgroupDirectory, _ records: RecordDirectory?, _ member: Membership?, _ log: Logger
    ) throws(SetupError) -> Guard? {
        do {
            return try Guard(plan, command, kernel, programs, base, records, member, log: log)
        } catch {
            return try doWithoutGuard(plan, error, log)
        }
    }

    /// Hands the guard what it is to guard, and waits for the queue where there is to be nothing else.
    private static func share(
        with guardProcess: Guard?, _ plan: RunPlan, _ memory: RunMemory, _ attachments: borrowing Attachments,
        _ record: borrowing RecordFile?, _ cgroup: borrowing RunCgroup, _ method: AttachMethod, _ log: Logger
    ) throws(SetupError) {
        guard let guardProcess else { return }
        do {
            try guardProcess.share(cgroup, attachments, record, method)
        } catch {
            // What it doesn't have, it can't be left.
            guardProcess.leave()
            _ = try doWithoutGuard(plan, error, log)
        }
        if plan.mode == .shape && memory.rates.down != .unlimited {
            guardProcess.waitUntilReady()
            guard guardProcess.planes?.contains(.shape) == true else {
                throw SetupError("can't shape downloads: \(guardProcess.obstacle ?? "the guard process has ended")")
            }
        }
    }

    private static func doWithoutGuard(
        _ plan: RunPlan, _ error: SystemError, _ log: Logger
    ) throws(SetupError) -> Guard? {
        if plan.mode == .shape { throw SetupError(error) }
        log.warning("\(error): nothing but police holds the limits, and that only while throttle lives")
        return nil
    }
}
