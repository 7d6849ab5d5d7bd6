import CKernel
import Cgroups
import Commands
import Glibc
import Kernel
import Programs
import Records
import SystemPackage
import Units

/// The guard's life.
struct Guarding {
    let plan: RunPlan
    let command: Command
    let kernel: KernelVersion
    let member: Membership?
    let channel: Channel
    /// The process that limits.
    let parent: pid_t

    let began = Host.monotonicNanoseconds

    func work(
        _ programs: borrowing ProgramSet, _ base: borrowing CgroupDirectory, _ records: RecordDirectory?
    ) {
        // Loaded beside what the other process sets up.
        let loaded = load(programs)
        do {
            guard let run = try inherit(base, records) else { return sweep(base, records) }
            keep(run, loaded, programs, records)
            // What couldn't be removed is tried once more, as if a dead run had left it.
            if plan.sweeps { sweep(base, records) }
        } catch {
            // The other process hears this, and goes on without us.
            channel.say(.obstacle, "\(error)")
        }
    }

    /// Holds the run to its end.
    private func keep(
        _ run: consuming InheritedRun, _ loaded: consuming PlaneSet?, _ programs: borrowing ProgramSet,
        _ records: RecordDirectory?
    ) {
        // Who asks already is answered when the planes are up.
        let control = listen(run, records)
        var keeper = setUp(loaded, run, programs)
        programs.memory.holdConnections(milliseconds: 0)
        if plan.sweeps, let records { sweep(records) }
        guardRun(run, control, &keeper, programs.memory)
        member?.leave()
        keeper?.stop()
        keeper = nil
        // What couldn't be taken down is tried once more, as if a dead run had left it.
        if plan.mode != .police && programs.memory.rates.down != .unlimited { removeDeadQueues(channel.undoLog) }
        channel.finish()
    }

    private func load(_ programs: borrowing ProgramSet) -> PlaneSet? {
        do {
            return try PlaneSet(sharing: programs)
        } catch {
            channel.say(.obstacle, "\(error)")
            return nil
        }
    }

    private func setUp(
        _ set: consuming PlaneSet?, _ run: borrowing InheritedRun, _ programs: borrowing ProgramSet
    ) -> PlaneKeeper? {
        var keeper: PlaneKeeper?
        if let set {
            do {
                keeper = try PlaneKeeper(plan, kernel, set, programs.memory, run.cgroup, run.method, channel)
            } catch {
                channel.say(.obstacle, "\(error)")
            }
        }
        // In any case, as the other process may wait for it.
        sayReady(keeper?.planes ?? [], run)
        return keeper
    }

    private func sayReady(_ planes: Set<Plane>, _ run: borrowing InheritedRun) {
        let names = planes.map(\.rawValue).sorted() + ["police"]
        channel.say(.ready, "\(names.joined(separator: " ")) (attached by \(run.method))")
    }

    /// Where `throttle set` and the like reach the run; nil where it isn't recorded.
    private func listen(_ run: borrowing InheritedRun, _ records: RecordDirectory?) -> ControlSocket? {
        guard let records, let name = run.recordName else { return nil }
        do {
            return try ControlSocket(of: name, in: records)
        } catch {
            channel.say(.info, "\(error)")
            return nil
        }
    }

    /// Gives what it takes to join the run's group, or changes limits where that is asked for, and says what the run did.
    private func answer(
        _ request: ControlRequest, _ run: borrowing InheritedRun, _ keeper: inout PlaneKeeper?, _ memory: RunMemory
    ) -> ControlAnswer {
        if request.join == true, let member {
            return ControlAnswer("joined", descriptors: member.descriptors)
        }
        if request.down != nil || request.up != nil {
            change(request, memory)
            hold(&keeper, memory, retries: true)
            sayReady(keeper?.planes ?? [], run)
        }
        var report = Report(plan, command)
        report.id = run.cgroup.id
        report.method = run.method
        report.take(memory, member, keeper?.planes ?? [])
        report.obstacle = keeper?.obstacle
        report.end(nil, after: Host.monotonicNanoseconds - began)
        return ControlAnswer((request.text ? report.text : report.json) + "\n")
    }

    /// Takes in new limits, of the run or of its group.
    private func change(_ request: ControlRequest, _ memory: RunMemory) {
        func changed(_ before: Rates) -> Rates {
            Rates(
                down: request.down.map(Rate.init(bytesPerSecond:)) ?? before.down,
                up: request.up.map(Rate.init(bytesPerSecond:)) ?? before.up)
        }
        if request.group != true {
            memory.asked = changed(memory.asked)
        } else if let group = memory.group {
            group.rates = changed(group.rates)
        }
    }

    /// Limits the run to what it may use now.
    private func hold(_ keeper: inout PlaneKeeper?, _ memory: RunMemory, retries: Bool) {
        memory.rates = member?.share ?? memory.asked
        keeper?.follow(retries: retries)
    }

    /// Does what is to be done every so often.
    private func tend(_ keeper: inout PlaneKeeper?, _ memory: RunMemory) {
        keeper?.step()
        if member?.step(isWaiting: keeper?.isWaiting ?? false) == true { hold(&keeper, memory, retries: false) }
    }

    /// Keeps the planes right until the other process ends the run; or until nothing runs any more, where it has left the
    /// run to us or was killed.
    private func guardRun(
        _ run: borrowing InheritedRun, _ control: ControlSocket?, _ keeper: inout PlaneKeeper?, _ memory: RunMemory
    ) {
        var isAlone = false
        while !isAlone || run.events.isPopulated {
            let (watch, step) = keeper?.waiting ?? (-1, -1)
            let ready = kernel_await(
                isAlone ? -1 : channel.descriptor, watch, control?.descriptor ?? -1,
                isAlone ? run.events.descriptor : -1, member == nil ? step : Shaper.stepMilliseconds)
            if ready > 0 && ready & 1 != 0 {
                if channel.receiveEnd() { return }
                isAlone = true
            }
            if ready > 0 && ready & 4 != 0 { control?.answer { answer($0, run, &keeper, memory) } }
            tend(&keeper, memory)
        }
    }

    /// Takes over what is to be guarded; nil where we can't, or where the other process failed to set it up.
    private func inherit(
        _ base: borrowing CgroupDirectory, _ records: RecordDirectory?
    ) throws(SystemError) -> InheritedRun? {
        guard let estate = try channel.receive() else { return nil }
        if estate.isEnd {
            // It may wait for our last word before it undoes what it did.
            channel.hangUp()
            return nil
        }
        return try InheritedRun(estate, base, records, channel.undoLog)
    }

    /// Removes what is left of the run: by the other process, where it was killed while it set that up, or by a removal
    /// that failed.
    private func sweep(_ base: borrowing CgroupDirectory, _ records: RecordDirectory?) {
        // Its locks last until it is gone altogether.
        while getppid() == parent && base.hasRun(of: parent) { usleep(1000) }
        if !plan.sweeps && getppid() == parent { return }
        _ = base.sweep()
        if let records { sweep(records) }
    }

    /// Removes the records of dead runs; those of other network namespaces tell `throttle cleanup` where to look, as
    /// long as these are there.
    private func sweep(_ records: RecordDirectory) {
        let here = Host.networkNamespace
        records.removeDead { _, record in
            guard let record, record.network_namespace != here else { return true }
            return Host.present([record.network_namespace]).isEmpty
        }
    }
}

/// All of a run that outlives the process which set it up, in the hands of its guard. Its scope removes it.
struct InheritedRun: ~Copyable {
    // Destroyed in this order.
    private let attachments: Attachments
    private let record: RecordFile?
    let recordName: String?
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
        let events = try attempting("watch", cgroup.parent.path) { () throws(Errno) in try cgroup.parent.events() }
        attachments = Attachments(sharing: estate.takeRest())
        recordName = words[1].isEmpty ? nil : words[1]
        self.record = record
        self.events = events
        self.cgroup = cgroup
        self.method = method
    }
}
