import Cgroups
import Glibc
import Kernel
import Logging
import Planes
import Processes
import Programs
import Records
import Units

/// The steps of a set-up, in their order.
extension Limiter {
    /// The cgroup to make the run's in, without what dead runs left there.
    static func base(_ plan: RunPlan, _ log: Logger) throws(SetupError) -> CgroupDirectory {
        try setting { () throws(SystemError) in
            let base =
                if let path = plan.cgroupParent { try CgroupDirectory(opening: path) } else {
                    try CgroupDirectory.ofCaller()
                }
            plan.sweep.cgroups(base, log)
            return base
        }
    }

    /// The cgroup that processes are in which run already.
    static func base(of processes: [pid_t], _ plan: RunPlan, _ log: Logger) throws(SetupError) -> CgroupDirectory {
        let base = try Target.cgroup(of: processes)
        plan.sweep.cgroups(base, log)
        return base
    }

    /// A packet waits in one queue only: in that of the run around this one, where that has one for it.
    static func noteNesting(_ plan: RunPlan, _ log: Logger) {
        if !RunCgroup.isCallerInside || !(plan.impairment.isDelayed || plan.isBackground) { return }
        let what = plan.isBackground ? "timed, so the run can't give way" : "delayed"
        log.warning("what waits in the queue of the run around this one isn't \(what)")
    }

    /// Where runs are recorded. Without it, the limit still holds.
    static func records(_ log: Logger) -> RecordDirectory? {
        do {
            return try RecordDirectory.ofCaller()
        } catch {
            log.info("\(unrecorded): \(error)")
            return nil
        }
    }

    private static let unrecorded = "not recorded, so not known to throttle cleanup"

    /// Writes down what runs here, for `throttle list`, `cleanup` and the like, and for those who join its group.
    static func record(
        _ plan: RunPlan, _ command: Command, _ cgroup: borrowing RunCgroup, _ member: Membership?,
        in records: RecordDirectory?, _ log: Logger
    ) throws(SetupError) -> RecordFile? {
        guard let records else { return nil }
        let text = RunRecord(
            id: cgroup.id, name: plan.name ?? command.words[0], command: command.words, cgroup: cgroup.parent.path,
            down: plan.rates.down.bytesPerSecond, up: plan.rates.up.bytesPerSecond, group: member?.name,
            isBackground: plan.isBackground)
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

    static func makeMemory(
        _ plan: RunPlan, _ kernel: KernelVersion, _ entry: GroupEntry?, _ log: Logger
    ) throws(SetupError) -> RunMemory {
        do throws(LoadError) {
            let memory = try RunMemory(
                for: kernel, plan.limits, scope: plan.scope, budget: entry?.budget ?? .none,
                isGuest: plan.target.isGuest, isLate: !plan.target.isCommand, quota: plan.quota,
                isTimed: plan.isBackground)
            memory.impairment = plan.impairment
            if plan.isBackground {
                _ = Yielding(memory)
                memory.drains = !RunCgroup.isCallerInside
            }
            return memory
        } catch {
            throw failed(error, log)
        }
    }

    static func load(
        _ kernel: KernelVersion, _ memory: RunMemory, _ log: Logger
    ) throws(SetupError) -> ProgramSet {
        do throws(LoadError) {
            let programs = try ProgramSet(for: kernel, sharing: memory)
            log.debug("loaded the programs \(ProgramSet.variant(for: kernel))")
            return programs
        } catch {
            throw failed(error, log)
        }
    }

    private static func failed(_ error: LoadError, _ log: Logger) -> SetupError {
        for line in error.log { log.debug("\(line)") }
        return SetupError(error)
    }

    /// Makes the run one of its group, and holds it to what that lets it have.
    static func join(
        _ entry: GroupEntry?, _ plan: RunPlan, _ memory: RunMemory, _ log: Logger
    ) throws(SetupError) -> Membership? {
        guard let entry, let budget = memory.group else {
            if let group = plan.group { log.info("in group '\(group)' already, by a run around this one") }
            return nil
        }
        do throws(SystemError) {
            let member = try Membership(entry, memory, budget)
            memory.rates = member.share
            log.info("one of \(member.report.runs) in group '\(member.name)'")
            return member
        } catch {
            throw SetupError(error)
        }
    }

    /// Starts what makes the limit lossless, and outlives us. Without it, it still holds.
    static func startGuard(
        _ plan: RunPlan, _ command: Command, _ kernel: KernelVersion, _ memory: RunMemory,
        _ base: borrowing CgroupDirectory, _ records: RecordDirectory?, _ member: Membership?, _ log: Logger
    ) throws(SetupError) -> GuardProcess? {
        do {
            return try GuardProcess(plan, command, kernel, memory, base, records, member, log: log)
        } catch {
            try doWithoutGuard(plan, error, log)
            return nil
        }
    }

    /// Hands the guard its part in the run, and waits for the queue where there is to be nothing else.
    static func handOver(
        _ hold: borrowing RunHold, to guardProcess: GuardProcess?, _ plan: RunPlan, _ memory: RunMemory, _ log: Logger
    ) throws(SetupError) {
        memory.tellPlanes(isShaped: false)
        // From the first packet on, which may be held until the guard gets on.
        for direction in Direction.allCases {
            let hasTask = memory.rates[direction] != .unlimited || plan.impairment.isDelayed
            let isWanted = plan.mode != .police && memory.hasTCP && hasTask
            memory.learnDevices(direction, isWanted)
        }
        if let guardProcess, guardProcess.isAlive {
            do {
                try guardProcess.take(hold)
            } catch {
                guardProcess.leave()
                try doWithoutGuard(plan, error, log)
            }
        }
        if plan.mode == .shape && memory.rates.down != .unlimited {
            guardProcess?.waitUntilReady()
            guard memory.planes.contains(.shape) else {
                throw SetupError("can't shape downloads: \(memory.obstacle ?? "the guard process has ended")")
            }
        }
        if plan.impairment != .none {
            guardProcess?.waitUntilReady()
            if !memory.isImpaired { try doWithoutImpairment(plan, memory, log) }
        }
        if guardProcess?.isAlive == true { return }
        if plan.mode == .shape { throw SetupError("can't shape uploads: the guard process has ended") }
        if plan.isBackground {
            let failure = "nothing has the run give way: the guard process has ended"
            try doWithout("NOT IN THE BACKGROUND", failure, plan, memory, log)
            memory.yielding = nil
        }
        for direction in Direction.allCases { memory.learnDevices(direction, false) }
        // The group's budget is what holds.
        memory.rates = memory.asked
    }

    private static func doWithoutImpairment(
        _ plan: RunPlan, _ memory: RunMemory, _ log: Logger
    ) throws(SetupError) {
        let failure = "can't make the network slow: \(memory.obstacle ?? "the guard process has ended")"
        try doWithout("NOT SLOWED", failure, plan, memory, log)
        memory.impairment = .none
        memory.obstacle = nil
    }

    /// Goes on without what was asked for besides limits, where that will do; and says so loudly.
    private static func doWithout(
        _ what: String, _ failure: String, _ plan: RunPlan, _ memory: RunMemory, _ log: Logger
    ) throws(SetupError) {
        guard plan.bestEffort else { throw SetupError(failure) }
        let omission = "\(what): \(failure)"
        memory.omission = omission
        log.error("\(omission)")
    }

    private static func doWithoutGuard(
        _ plan: RunPlan, _ error: SystemError, _ log: Logger
    ) throws(SetupError) {
        if plan.needsGuard { throw SetupError(error) }
        log.warning("\(error): nothing but police holds the limits, and that only while throttle lives")
    }
}
