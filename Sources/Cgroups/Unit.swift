import Glibc
import Kernel
import SystemPackage

extension CgroupDirectory {
    /// The cgroup of a unit of systemd's, by the name that systemctl(1) takes: without a suffix it is a service. Those of the
    /// caller's own manager if `isUsers`, else of the system's.
    package init(ofUnit name: String, isUsers: Bool) throws(SystemError) {
        let suffixes = [".service", ".scope", ".slice", ".socket", ".mount", ".swap"]
        let full = suffixes.contains(where: name.hasSuffix) ? name : name + ".service"
        var top = try CgroupDirectory.ofCaller()
        while let above = top.above() { top = above }
        let manager = "user@\(getuid()).service"
        var found: CgroupDirectory?
        if isUsers {
            if let own = top.descendant(named: manager, below: { _ in true }) {
                found = own.descendant(named: full) { _ in true }
            }
        } else {
            // Other users' are none of the system's.
            found = top.descendant(named: full) { !$0.hasPrefix("user@") }
        }
        switch consume found {
        case .some(let cgroup): self = cgroup
        case nil:
            throw SystemError(
                "find", "the cgroup of \(isUsers ? "user unit" : "unit") \(full)", errno: .noSuchFileOrDirectory,
                hint: "does it run? systemctl\(isUsers ? " --user" : "") status \(full)")
        }
    }

    /// The first of this name below, as it is in the file system.
    private func descendant(named name: String, below isSearched: (String) -> Bool) -> CgroupDirectory? {
        let names = children()
        if names.contains(name) { return try? child(name) }
        for other in names where isSearched(other) {
            if let below = try? child(other), let found = below.descendant(named: name, below: isSearched) {
                return found
            }
        }
        return nil
    }
}
