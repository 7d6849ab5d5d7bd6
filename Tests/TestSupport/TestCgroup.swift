import Cgroups
import Glibc
import Kernel
import Synchronization
import SystemPackage
import Testing

/// A cgroup of the test's own below the one that the tests run in; its scope removes it with all below.
package struct TestCgroup: ~Copyable {
    package let path: String
    private static let count = Atomic(0)

    package init() throws {
        let caller = try CgroupDirectory.ofCaller()
        let number = TestCgroup.count.add(1, ordering: .relaxed).newValue
        let path = "\(caller.path)/tests-\(getpid())-\(number)"
        guard mkdir(path, 0o755) == 0 else { throw Errno(rawValue: errno) }
        self.path = path
    }

    deinit {
        removeTree(path)
        if access(path, F_OK) == 0 { Issue.record("left cgroup \(path)") }
    }

    package func open(_ child: String? = nil) throws -> CgroupDirectory {
        try CgroupDirectory(opening: path + (child.map { "/\($0)" } ?? ""))
    }

    /// Makes a cgroup below this one, with those in between.
    package func make(_ child: String) throws {
        var path = path
        for name in child.split(separator: "/") {
            path += "/\(name)"
            guard mkdir(path, 0o755) == 0 || errno == EEXIST else { throw Errno(rawValue: errno) }
        }
    }

    /// The paths of all cgroups below, from this one on.
    package var tree: [String] { paths(below: path).sorted() }
}

private func paths(below path: String) -> [String] {
    subdirectories(path).flatMap { name in [name] + paths(below: "\(path)/\(name)").map { "\(name)/\($0)" } }
}

private func subdirectories(_ path: String) -> [String] {
    guard let stream = opendir(path) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if entry.pointee.d_type == UInt8(DT_DIR), name != ".", name != ".." { names.append(name) }
    }
    return names
}

private func removeTree(_ path: String) {
    for name in subdirectories(path) { removeTree("\(path)/\(name)") }
    // A process that was just killed still counts for a moment.
    for _ in 0..<200 where rmdir(path) != 0 && errno == EBUSY { usleep(5000) }
}
