import Cgroups
import Glibc
import Kernel
import Logging
import Planes
import Programs
import Records
import Reports
import SystemPackage

/// All of a run that outlives the process which set it up: its cgroups, record and programs. throttle has it, and the
/// guard, too. Its scope removes it.
struct RunHold: ~Copyable {
    // Destroyed in this order: the last made goes first.
    private var attachments: Attachments
    private var record: RecordFile?
    private(set) var cgroup: RunCgroup
    /// What is limited as a whole; nil where that is the run's own cgroup.
    private let whole: CgroupDirectory?
    /// How programs were attached.
    let method: AttachMethod

    /// What this process made.
    init(
        _ cgroup: consuming RunCgroup, _ whole: consuming CgroupDirectory?, _ record: consuming RecordFile?,
        _ attachments: consuming Attachments, _ method: AttachMethod
    ) {
        self.whole = whole
        self.attachments = attachments
        self.record = record
        self.cgroup = cgroup
        self.method = method
    }

    /// What another process made below `base`.
    init(
        inheriting handover: consuming Handover, _ target: Target, _ base: borrowing CgroupDirectory,
        _ records: RecordDirectory?, _ log: Logger
    ) throws(SystemError) {
        guard let lock = handover.takeFirst(), let copy = try? base.descriptor.copy() else {
            throw SystemError("take over", "the run", errno: .invalidArgument)
        }
        let cgroup = try RunCgroup(
            sharing: lock, named: handover.cgroup, in: CgroupDirectory(copy, base.path), log: log)
        var record: RecordFile?
        if let name = handover.record, let lock = handover.takeFirst(), let records {
            record = try RecordFile(sharing: lock, named: name, in: records)
        }
        let method = handover.method
        let whole = try target.wholeCgroup()
        self.init(cgroup, whole, record, Attachments(sharing: handover.takeRest()), method)
    }

    /// Gives another process, at the other end of a socket, its part in all this.
    func handOver(to socket: CInt) throws(SystemError) {
        var descriptors = [cgroup.parent.descriptor.rawValue]
        var name: String?
        switch record {
        case .some(let record):
            name = record.name
            descriptors.append(record.descriptor)
        case nil: break
        }
        try ToGuard.sendHandover(
            cgroup: cgroup.parent.name, record: name, method, descriptors + attachments.links, to: socket)
    }

    /// The name of its record; nil where it isn't recorded.
    var recordName: String? {
        switch record {
        case .some(let record): record.name
        case nil: nil
        }
    }

    /// What there is to say of the run so far.
    func report(_ subject: Report.Subject, _ memory: RunMemory, _ member: Membership?) -> Report {
        var subject = subject
        (subject.id, subject.method) = (cgroup.id, method)
        return Report(subject, memory, member?.report)
    }

    /// Writes down what the run is asked for now, and where it has queues. Nobody reads that while its guard answers, so a
    /// failure is no more than that.
    func note(_ memory: RunMemory) {
        switch record {
        case .some(let record):
            record.change(
                down: memory.asked.down.bytesPerSecond, up: memory.asked.up.bytesPerSecond,
                isBackground: memory.yielding != nil, otherNamespaces: memory.otherNetworks)
        case nil: break
        }
    }

    /// Gives back what ran before the run, as it was.
    func giveBack(_ sockets: OpenSockets) {
        sockets.release(processes)
        _ = cgroup.release()
    }

    /// All that are limited.
    var processes: [pid_t] {
        switch whole {
        case .some(let whole): whole.allProcesses
        case nil: cgroup.run.allProcesses
        }
    }

    /// Where they are: a copy.
    func members() throws(SystemError) -> CgroupDirectory {
        switch whole {
        case .some(let whole): try whole.copy()
        case nil: try cgroup.run.copy()
        }
    }

    /// Takes our hands off: another process has it all, too.
    mutating func leave() {
        attachments.leave()
        record?.leave()
        cgroup.leave()
    }
}
