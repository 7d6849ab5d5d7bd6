import Glibc
import Kernel
import SystemPackage

/// A process that only sleeps; its scope ends it.
package struct Sleeper: ~Copyable {
    package let pid: pid_t

    /// Starts the process and moves it into the cgroup at `path`.
    package init(in path: String) throws {
        var pid: pid_t = 0
        var words: [UnsafeMutablePointer<CChar>?] = [strdup("sleep"), strdup("600"), nil]
        defer { for word in words { free(word) } }
        let error = posix_spawn(&pid, "/bin/sleep", nil, nil, &words, environ)
        guard error == 0 else { throw Errno(rawValue: error) }
        do {
            try Descriptor(opening: path + "/cgroup.procs", O_WRONLY).write("\(pid)")
        } catch {
            end(pid)
            throw error
        }
        self.pid = pid
    }

    deinit {
        end(pid)
    }

    /// Where the process is, in the words of its /proc/PID/cgroup.
    package var cgroup: String {
        get throws { try readText("/proc/\(pid)/cgroup") }
    }
}

private func end(_ pid: pid_t) {
    kill(pid, SIGKILL)
    waitpid(pid, nil, 0)
}
