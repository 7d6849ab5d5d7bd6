import Cgroups
import Glibc
import Kernel
import Logging
import Planes
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
        let whole = try setting { () throws(SystemError) in try plan.target.wholeCgroup() }
        try Target.check(whole)
        let base =
            if case .processes(let processes) = plan.target { try Limiter.base(of: processes, plan, log) } else {
                try Limiter.base(plan, log)
            }
        Limiter.noteNesting(plan, log)
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
            cgroup = try RunCgroup(in: base, plan.target.place, log: log)
        } catch {
            throw SetupError(error)
        }
        let record = try Limiter.record(plan, command, cgroup, member, in: records, log)
        // Others find the run from now on.
        entry = nil
        var attachments = Attachments(log: log)
        if !plan.target.isCgroup {
            memory.hasWitness = try Limiter.attachWitness(&attachments, programs, cgroup, plan.attach, log)
        }
        // Before anything of theirs is charged.
        let sockets = OpenSockets(memory, kernel, log)
        let open = Limiter.processes(whole)
        if !open.isEmpty { sockets.adopt(open) }
        let method: AttachMethod
        do {
            method = try Limiter.attachMeters(&attachments, programs, cgroup, whole, plan, log)
        } catch {
            sockets.release(open)
            throw error
        }
        if let guardProcess = line.guardProcess {
            Limiter.attachTCP(&attachments, guardProcess.takePrograms(), cgroup, whole, plan, method, memory, log)
        }
        let hold = RunHold(cgroup, whole, record, attachments, method)
        do {
            try Limiter.handOver(hold, to: line.guardProcess, plan, memory, log)
        } catch {
            sockets.release(open)
            throw error
        }
        self.line = line
        self.hold = hold
        self.member = member
        self.memory = memory
    }

    deinit { guardProcess?.end() }

    private static func processes(_ whole: borrowing CgroupDirectory?) -> [pid_t] {
        switch whole {
        case .some(let whole): whole.allProcesses
        case nil: []
        }
    }

    /// Makes processes that run already the run's, with all that they have started.
    func take(_ roots: [pid_t]) throws(SetupError) {
        do throws(SystemError) {
            // Again while there are new ones: a process may fork while it is being moved.
            var taken: Set<pid_t> = []
            for _ in 0..<100 {
                let new = processTree(roots).subtracting(taken).filter { isMovable($0) }
                // One that couldn't be read of just now is still to be found.
                if new.isEmpty && !roots.contains(where: { !taken.contains($0) && isMovable($0) }) { break }
                try hold.cgroup.take(new)
                taken.formUnion(new)
            }
        } catch {
            throw SetupError(error)
        }
    }

    /// Makes what its processes have open the run's.
    func adopt(_ sockets: OpenSockets, isRepeated: Bool) { sockets.adopt(hold.processes, isRepeated: isRepeated) }

    /// What is in another cgroup than those that were named couldn't be put back there, and isn't limited.
    private func isMovable(_ process: pid_t) -> Bool {
        guard let cgroup = try? CgroupDirectory(of: process) else { return false }
        return cgroup.isSame(as: hold.cgroup.base)
    }

    /// Gives back what ran before the run, as it was.
    func giveBack(_ sockets: OpenSockets) { hold.giveBack(sockets) }

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

    /// What tells when the run has no process any more.
    func events() throws(SystemError) -> CgroupEvents {
        let members = try hold.members()
        return try attempting("wait for", members.path) { () throws(Errno) in try members.events() }
    }

    /// Sends a signal to all of its processes.
    func send(_ signal: CInt) { hold.cgroup.run.send(signal) }

    /// How many processes the run has.
    var population: Int { hold.cgroup.run.population }

    /// Waits until none is left, or a signal comes that would end us: that goes to all of them.
    func waitUntilEmpty(as caller: borrowing Caller) throws(SystemError) {
        let events = try events()
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
