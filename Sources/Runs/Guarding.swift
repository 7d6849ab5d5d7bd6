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
        guard let estate = channel.receive() else { return sweep(base, records) }
        guard let run = inherit(estate, base, records) else { return sweep(base, records) }
        var keeper = setUp(loaded, run, programs)
        programs.holdConnections(milliseconds: 0)
        if plan.sweeps, let records { sweep(records) }
        guardRun(run, &keeper, programs)
        keeper?.stop(programs)
        keeper = nil
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
        guard let set else { return nil }
        do {
            let keeper = try PlaneKeeper(plan, kernel, set, programs, run.cgroup, run.method, channel)
            let planes = keeper.planes.map(\.rawValue).sorted() + ["police"]
            channel.say(.ready, "\(planes.joined(separator: " ")) (attached by \(run.method))")
            return keeper
        } catch {
            channel.say(.obstacle, "\(error)")
            return nil
        }
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
            if ready & 1 != 0 {
                if channel.receiveEnd() { return }
                isAlone = true
            }
            keeper?.step(programs)
        }
    }

    /// Takes over what is to be guarded; nil where we can't, or where the other process failed to set it up.
    private func inherit(
        _ estate: consuming Estate, _ base: borrowing CgroupDirectory, _ records: RecordDirectory?
    ) -> InheritedRun? {
        if estate.isEnd {
            // It may wait for our last word before it undoes what it did.
            channel.hangUp()
            return nil
        }
        return try? InheritedRun(estate, base, records, channel.undoLog)
    }

    /// Removes what the other process left that was killed while it set up the run.
    private func sweep(_ base: borrowing CgroupDirectory, _ records: RecordDirectory?) {
        // Its locks last until it is gone altogether.
        while getppid() == parent && base.hasRun(of: parent) { usleep(1000) }
        if !plan.sweeps && getppid() == parent { return }
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
