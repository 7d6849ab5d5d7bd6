import Cgroups
import Kernel
import Logging
import Planes
import Programs
import Records

/// Removes what dead runs left, on the way of a live one.
package struct Sweep {
    /// Whether it does anything: not where leftovers are to be reported.
    package var isOn = true

    func cgroups(_ base: borrowing CgroupDirectory, _ log: Logger) {
        guard isOn else { return }
        for name in base.sweep() { log.debug("removed cgroup \(base.path)/\(name), left by a dead run") }
    }

    /// Those of other network namespaces tell `throttle cleanup` where to look, as long as these are there.
    func records(_ records: RecordDirectory?) {
        guard isOn, let records else { return }
        let here = Host.networkNamespace
        records.removeDead { _, record in
            guard let record else { return true }
            return Host.present(record.namespaces.subtracting([here ?? 0])).isEmpty
        }
    }

    /// In our network namespace, and in these others.
    func queues(in others: [UInt64] = [], _ log: Logger) {
        guard isOn else { return }
        removeDeadQueues(log)
        _ = Host.inNetworkNamespaces(Set(others)) { removeDeadQueues(log) }
    }
}
