import CKernel
import Cgroups
import Glibc
import Kernel
import Logging
import Planes
import Processes
import Programs
import Records
import SystemPackage

/// The guard's life, from its fork on.
struct GuardLife {
    let plan: RunPlan
    let command: Command
    let kernel: KernelVersion
    let memory: RunMemory
    let member: Membership?
    let channel: Channel
    /// throttle hears it.
    let log: Logger
    /// The process ID of throttle.
    let parent: pid_t

    func work(_ base: borrowing CgroupDirectory, _ records: RecordDirectory?) {
        // Loaded beside what throttle sets up.
        load()
        let alarm = Alarm(of: memory)
        do {
            guard let hold = try inherit(base, records) else {
                giveBack()
                return sweep(base, records)
            }
            try keep(hold, alarm, records)
            // What couldn't be removed is tried once more, as if a dead run had left it.
            if plan.sweep.isOn { sweep(base, records) }
        } catch {
            // throttle hears this, and goes on without us.
            memory.obstruct(error, log)
        }
    }

    /// What throttle has marked of a whole cgroup before it was killed.
    private func giveBack() {
        guard plan.target.isCgroup, let whole = try? plan.target.wholeCgroup() else { return }
        OpenSockets(memory, kernel, log).release(whole.allProcesses)
    }

    private func load() {
        do {
            channel.lend(try TCPPrograms(sharing: memory.maps))
        } catch {
            memory.obstruct(error, log)
            channel.lend(nil)
        }
    }

    /// Takes over what is to be guarded; nil where throttle has failed to set it up, or has ended before.
    private func inherit(
        _ base: borrowing CgroupDirectory, _ records: RecordDirectory?
    ) throws(SystemError) -> RunHold? {
        switch try channel.receive() {
        case .take(let handover): return try RunHold(inheriting: handover, plan.target, base, records, log)
        case .end:
            // It may wait for our last word before it undoes what it did.
            channel.hangUp()
            return nil
        case nil: return nil
        }
    }

    func tellPlanes(_ method: AttachMethod) {
        let names = memory.planes.map(\.rawValue).sorted() + ["police"]
        log.info("mode \(plan.mode): \(names.joined(separator: " ")) (attached by \(method))")
    }

    /// All that there can be.
    private func makePlanes(_ hold: borrowing RunHold, learns: Bool) -> Planes? {
        if !memory.hasTCP { return nil }
        do {
            if !learns { throw SystemError("watch", "the run's packets", errno: .noMemory) }
            var planes = Planes(memory, plan.mode, kernel, hold.cgroup, members: try hold.members(), log)
            planes.follow()
            do {
                try planes.impair()
            } catch {
                memory.obstacle = "\(error)"
            }
            return planes
        } catch {
            memory.obstruct(error, log)
            return nil
        }
    }

    /// Holds the run to its end.
    private func keep(
        _ hold: consuming RunHold, _ alarm: Alarm?, _ records: RecordDirectory?
    ) throws(SystemError) {
        let planes = makePlanes(hold, learns: alarm != nil)
        tellPlanes(hold.method)
        // In any case, as throttle may wait for it.
        channel.say(.ready)
        let parent = hold.cgroup.parent.path
        let events = try attempting("watch", parent) { () throws(Errno) in try hold.cgroup.parent.events() }
        var loop = GuardLoop(self, hold, events, planes, alarm, records)
        plan.sweep.records(records)
        loop.run()
        loop.stop()
        // What couldn't be taken down is tried once more, as if a dead run had left it.
        if plan.mode != .police && (memory.rates.down != .unlimited || memory.senders > 0 || memory.isImpaired) {
            plan.sweep.queues(in: memory.otherNetworks, log)
        }
        channel.finish()
    }

    /// Removes what is left of the run: by throttle, where it was killed while it set that up, or by a removal that
    /// failed.
    private func sweep(_ base: borrowing CgroupDirectory, _ records: RecordDirectory?) {
        // Its locks last until it is gone altogether.
        while getppid() == parent && base.hasRun(of: parent) { usleep(1000) }
        // Where it lives, leftovers are to be reported.
        let sweep = Sweep(isOn: plan.sweep.isOn || getppid() != parent)
        sweep.cgroups(base, log)
        sweep.records(records)
    }
}
