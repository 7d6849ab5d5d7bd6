import Glibc
import Kernel
import SystemPackage

/// What /proc tells of a process (proc_pid_stat(5)).
package struct ProcessStatus: Sendable {
    package let pid: pid_t
    package let parent: pid_t
    package let isZombie: Bool
    /// PF_KTHREAD of linux/sched.h.
    package let isKernels: Bool

    /// nil where there is none of that ID.
    package init?(of pid: pid_t) {
        guard let text = try? readText("/proc/\(pid)/stat"), let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 6, let parent = pid_t(fields[1]), let flags = UInt32(fields[6]) else { return nil }
        self.pid = pid
        self.parent = parent
        isZombie = fields[0] == "Z" || fields[0] == "X"
        isKernels = flags & 0x0020_0000 != 0
    }
}

/// These processes, and all that they and those have started, as far as their parents live.
package func processTree(_ roots: [pid_t]) -> Set<pid_t> {
    let all = Host.processes.compactMap(ProcessStatus.init(of:))
    let children = Dictionary(grouping: all, by: \.parent)
    var tree: Set<pid_t> = []
    var next = roots.filter { root in all.contains { $0.pid == root } }
    while let pid = next.popLast() {
        if tree.insert(pid).inserted { next += (children[pid] ?? []).map(\.pid) }
    }
    return tree
}

/// The process that runs us, and those above it.
package var ancestorsOfOurs: [pid_t] {
    var found: [pid_t] = []
    var pid = getppid()
    while pid > 0, !found.contains(pid), let status = ProcessStatus(of: pid) {
        found.append(pid)
        pid = status.parent
    }
    return found
}

/// The words that a process was started by; nil where it has none, or there is none.
package func commandLine(of process: pid_t) -> [String]? {
    guard let text = try? readText("/proc/\(process)/cmdline") else { return nil }
    let words = text.split(separator: "\0", omittingEmptySubsequences: false).dropLast().map(String.init)
    return words.isEmpty ? nil : words
}
