import Foundation

/// A cgroup of our own. Its end kills all that is inside and removes it with everything below.
final class TestCgroup {
    let path: String

    /// Makes `name` below the cgroup at `parent`.
    init(_ name: String, in parent: String) throws {
        path = "\(parent)/\(name)"
        guard mkdir(path, 0o755) == 0 else {
            throw HarnessError("can't make cgroup \(path): \(String(cString: strerror(errno)))")
        }
    }

    deinit {
        killAll()
        _ = poll(timeout: .seconds(10)) { TestCgroup.remove(path) }
    }

    /// Kills every process inside and below.
    func killAll() {
        try? "1".write(toFile: "\(path)/cgroup.kill", atomically: false, encoding: .utf8)
    }

    /// Names of the cgroups below that belong to runs.
    var runs: [String] { children.filter { $0.hasPrefix("throttle") }.sorted() }

    var children: [String] { TestCgroup.children(of: path) }

    /// Processes in this cgroup itself.
    var processes: [pid_t] { TestCgroup.processes(of: path) }

    static func processes(of path: String) -> [pid_t] {
        (try? String(contentsOfFile: "\(path)/cgroup.procs", encoding: .utf8))?
            .split(separator: "\n").compactMap { pid_t($0) } ?? []
    }

    /// The directory of the cgroup that this process is in.
    static func ofThisProcess() throws -> String {
        let mounts = try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)
        let mount = mounts.split(separator: "\n").first { $0.contains(" - cgroup2 ") }
        guard let mount else { throw HarnessError("cgroup v2 isn't mounted") }
        let fields = mount.split(separator: " ")
        let lines = try String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8).split(separator: "\n")
        let own = lines.first { $0.hasPrefix("0::") }?.dropFirst(3) ?? "/"
        let root = fields[3] == "/" ? "" : fields[3]
        return String(fields[4]) + (own == "/" ? "" : String(own.dropFirst(root.count)))
    }

    private static func children(of path: String) -> [String] {
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return entries.filter {
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(atPath: "\(path)/\($0)", isDirectory: &isDirectory)
                && isDirectory.boolValue
        }
    }

    private static func remove(_ path: String) -> Bool {
        for name in children(of: path) { _ = remove("\(path)/\(name)") }
        return rmdir(path) == 0 || errno == ENOENT
    }
}
