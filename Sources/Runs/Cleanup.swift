import Cgroups
import Devices
import Kernel
import Programs
import Records

/// Finds and removes what dead runs left, and nothing of live ones or of others: what is locked is alive.
public struct Cleanup {
    private let isRemoving: Bool

    /// `isRemoving`: whether what is found is removed.
    public init(isRemoving: Bool) {
        self.isRemoving = isRemoving
    }

    /// All that was found, in the order in which it was removed.
    public func leftovers() -> [Leftover] {
        var records: [Leftover] = []
        var namespaces: Set<UInt64> = []
        RecordDirectory.forEach { directory in
            directory.removeDead { path, record in
                records.append(Leftover(.record, path, note: record.map { "\($0.name), pid \($0.pid)" }))
                namespaces.insert(record?.network_namespace ?? 0)
                return isRemoving
            }
        }
        return cgroups() + devices(in: namespaces) + records
    }

    private func cgroups() -> [Leftover] {
        guard let own = try? CgroupDirectory.ofCaller() else { return [] }
        return top(of: own).leftovers(isRemoving: isRemoving)
    }

    /// The highest cgroup that is visible here.
    private func top(of cgroup: consuming CgroupDirectory) -> CgroupDirectory {
        guard let above = cgroup.above() else { return cgroup }
        return top(of: above)
    }

    /// In our network namespace, and in those that dead runs were in and that still are. They belong to nobody: whoever
    /// may remove devices may remove them.
    private func devices(in namespaces: Set<UInt64>) -> [Leftover] {
        guard Host.missingCapabilities(of: [.netAdmin]).isEmpty else { return [] }
        let others = namespaces.subtracting([0, Host.networkNamespace ?? 0])
        return deadQueues() + others.flatMap { Host.inNetworkNamespace($0, deadQueues) ?? [] }
    }

    private func deadQueues() -> [Leftover] {
        (try? DeadQueues(filterName: PlaneSet.matchName))?.leftovers(isRemoving: isRemoving) ?? []
    }
}

/// Removes the queues that dead runs left in this network namespace.
func removeDeadQueues(_ log: UndoLog) {
    guard let dead = try? DeadQueues(filterName: PlaneSet.matchName) else { return }
    for leftover in dead.leftovers(isRemoving: true) {
        log(leftover.failure ?? "removed \(leftover.description), left by a dead run", leftover.failure != nil)
    }
}
