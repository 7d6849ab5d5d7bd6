import CKernel
import Cgroups
import Glibc
import Kernel
import Programs
import Records
import SystemPackage

/// The guard's life.
struct Guarding {
    let plan: RunPlan
    let kernel: KernelVersion
    let channel: Channel
    /// The process that limits.
    let parent: pid_t

    func work(
        _ programs: borrowing ProgramSet, _ base: borrowing CgroupDirectory, _ records: RecordDirectory?
    ) {
        // Loaded beside what the other process sets up.
        let loaded = load(programs)
        do {
            if let run = try inherit(base, records) { keep(run, loaded, programs, records) }
        } catch {
            // The other process hears this, and goes on without us.
            channel.say(.obstacle, "\(error)")
            return
        }
        sweep(base, records)
    }

    /// Holds the run to its end.
    private func keep(
        _ run: consuming InheritedRun, _ loaded: consuming PlaneSet?, _ programs: borrowing ProgramSet,
        _ records: RecordDirectory?
    ) {
        var keeper = setUp(loaded, run, programs)
        programs.holdConnections(milliseconds: 0)
        if let records { sweep(records) }
        guardRun(run, &keeper, programs)
        keeper?.stop(programs)
        keeper = nil
        // What couldn't be taken down is tried once more, as if a dead run had left it.
        if plan.mode != .police && plan.down != .unlimited { removeDeadQueues(channel.undoLog) }
        channel.finish()
    }

    private func load(_ programs: borrowing ProgramSet) -> PlaneSet? {
        do {
            return plan.isLimited ? try PlaneSet(sharing: programs) : nil
        } catch {
            channel.say(.obstacle, "\(error)")
            return nil
        }
    }

    private func setUp(
        _ set: consuming PlaneSet?, _ run: borrowing InheritedRun, _ programs: borrowing ProgramSet
    ) -> PlaneKeeper? {
        if !plan.isLimited { return nil }
        var keeper: PlaneKeeper?
        if let set {
            do {
                keeper = try PlaneKeeper(plan, kernel, set, programs, run.cgroup, run.method, channel)
            } catch {
                channel.say(.obstacle, "\(error)")
            }
        }
        // In any case, as the other process may wait for it.
        let planes = (keeper?.planes ?? []).map(\.rawValue).sorted() + ["police"]
        channel.say(.ready, "\(planes.joined(separator: " ")) (attached by \(run.method))")
        return keeper
    }

    /// Keeps the planes right until the other process ends the run; or until nothing runs any more, where it has left the
    /// run to us or was killed.
    private func guardRun(
        _ run: borrowing InheritedRun, _ keeper: inout PlaneKeeper?, _ programs: borrowing ProgramSet
    ) {
        var isAlone = false
        while !isAlone || run.events.isPopulated {
            let (watch, step) = keeper?.waiting ?? (-1, -1)
            let ready = kernel_await(
                isAlone ? -1 : channel.descriptor, watch, isAlone ? run.events.descriptor : -1, step)
            if ready > 0 && ready & 1 != 0 {
                if channel.receiveEnd() { return }
                isAlone = true
            }
            keeper?.step(programs)
        }
    }

    /// Waits for what is to be guarded; nil where the other process ended, or failed, before there was anything.
    private func inherit(
        _ base: borrowing CgroupDirectory, _ records: RecordDirectory?
    ) throws(SystemError) -> InheritedRun? {
        guard let estate = try channel.receive() else { return nil }
        return try InheritedRun(estate, base, records, channel.undoLog)
    }

    /// Removes what is left of the run: by the other process, where it was killed while it set that up, or by a removal
    /// that failed.
    private func sweep(_ base: borrowing CgroupDirectory, _ records: RecordDirectory?) {
        // Its locks last until it is gone altogether.
        while getppid() == parent && base.hasRun(of: parent) { usleep(1000) }
        _ = base.sweep()
        if let records { sweep(records) }
    }

    /// Removes the records of dead runs; those of other network namespaces tell `throttle cleanup` where to look.
    private func sweep(_ records: RecordDirectory) {
        let here = Host.networkNamespace
        records.removeDead { _, record in record == nil || record?.network_namespace == here }
    }
}

/// All of a run that outlives the process which set it up, in the hands of its guard. Its scope removes it.
struct InheritedRun: ~Copyable {
    // Destroyed in this order.
    private let attachments: Attachments
    private let record: RecordFile?
    let events: CgroupEvents
    let cgroup: RunCgroup
    let method: AttachMethod

    init(
        _ estate: consuming Estate, _ base: borrowing CgroupDirectory, _ records: RecordDirectory?,
        _ log: @escaping UndoLog
    ) throws(SystemError) {
        let words = estate.words
        guard words.count == 3, let method = AttachMethod(rawValue: words[2]),
            let lock = estate.takeFirst(), let copy = try? base.descriptor.copy()
        else { throw SystemError("take over", "the run", errno: .invalidArgument) }
        let cgroup = try RunCgroup(
            sharing: lock, named: words[0], in: CgroupDirectory(copy, base.path), log: log)
        var record: RecordFile?
        if !words[1].isEmpty, let lock = estate.takeFirst(), let records {
            record = try RecordFile(sharing: lock, named: words[1], in: records)
        }
        let events: CgroupEvents
        do throws(Errno) {
            events = try cgroup.parent.events()
        } catch {
            throw SystemError("watch", cgroup.parent.path, errno: error)
        }
        attachments = Attachments(sharing: estate.takeRest())
        self.record = record
        self.events = events
        self.cgroup = cgroup
        self.method = method
    }
}
