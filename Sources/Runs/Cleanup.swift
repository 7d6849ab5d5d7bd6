import Cgroups
import Devices
import Glibc
import Kernel
import Programs
import Records

/// Finds and removes what dead runs left, and nothing of live ones or of others: what is locked is alive.
package struct Cleanup {
    private let isRemoving: Bool

    /// `isRemoving`: whether what is found is removed.
    package init(isRemoving: Bool) {
        self.isRemoving = isRemoving
    }

    /// All that was found, in the order in which it was removed.
    package func leftovers() -> [Leftover] {
        var records: [Leftover] = []
        var namespaces: Set<UInt64> = []
        var live: Set<Run> = []
        RecordDirectory.forEach { directory in
            let isWhole = directory.removeDead { path, record in
                records.append(Leftover(.record, path, note: record.map { "\($0.name), pid \($0.pid)" }))
                namespaces.formUnion(record?.namespaces ?? [])
                return isRemoving
            }
            if !isWhole { records.append(Leftover(ofMany: directory.path)) }
            live.formUnion(directory.live().records.map { Run(user: directory.owner, id: $0.1.id) })
        }
        return cgroups() + devices(in: namespaces, besides: live) + records
    }

    private struct Run: Hashable {
        let user: uid_t
        let id: String
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
    private func devices(in namespaces: Set<UInt64>, besides live: Set<Run>) -> [Leftover] {
        guard Host.missingCapabilities(of: [.netAdmin]).isEmpty else { return [] }
        let others = namespaces.subtracting([0, Host.networkNamespace ?? 0])
        return deadQueues(live) + Host.inNetworkNamespaces(others) { deadQueues(live) }.flatMap { $0 }
    }

    private func deadQueues(_ live: Set<Run>) -> [Leftover] {
        let dead = try? DeadQueues(in: .current(), filterNames: QueueProgram.filterNames) { id, user in
            // Others' records are root's to see.
            guard geteuid() == 0 || user == geteuid() else { return true }
            return live.contains { $0.id == id && $0.user == user ?? $0.user }
        }
        return dead?.leftovers(isRemoving: isRemoving) ?? []
    }
}

extension Leftover {
    fileprivate init(ofMany path: String) {
        self.init(.record, path)
        failure = "\(path) holds more than a user's runs: not all of it was looked at, so try again"
    }
}
