import CKernel
import Glibc
import Kernel
import SystemPackage

/// An open directory of the cgroup v2 file system.
package struct CgroupDirectory: ~Copyable, Sendable {
    /// The directory, open for reading.
    package let descriptor: Descriptor
    /// For people; all work goes through the descriptor.
    package let path: String

    /// Opens `path`, which must be a cgroup v2 directory.
    package init(opening path: String) throws(SystemError) {
        let descriptor = try attempting("open cgroup", path) { () throws(Errno) in
            try Descriptor(opening: path, O_RDONLY | O_DIRECTORY)
        }
        guard CgroupDirectory.isCgroup2(descriptor) else {
            throw SystemError(
                "use", path, errno: .notSupported, hint: "it is not a directory of a cgroup v2 file system")
        }
        self.init(descriptor, path)
    }

    /// The cgroup that this process is in, wherever its file system is mounted.
    package static func ofCaller() throws(SystemError) -> CgroupDirectory { try at(pathOfCaller()) }

    /// The cgroup that a process is in.
    package init(of process: pid_t) throws(SystemError) {
        self = try CgroupDirectory.at(CgroupDirectory.path(of: "\(process)"))
    }

    private static func at(_ cgroup: String) throws(SystemError) -> CgroupDirectory {
        let mountinfo = try attempting("read", "/proc/self/mountinfo") { () throws(Errno) in
            try readText("/proc/self/mountinfo")
        }
        for mount in CgroupMount.all(in: mountinfo) {
            guard let path = mount.path(of: cgroup) else { continue }
            // A mount can be hidden by a later one above it, as the one of /sys in `ip netns exec`.
            if let directory = try? CgroupDirectory(opening: path) { return directory }
        }
        return try inDetachedMount(cgroup)
    }

    /// The path of this process in /proc/self/cgroup.
    static func pathOfCaller() throws(SystemError) -> String { try path(of: "self") }

    private static func path(of process: String) throws(SystemError) -> String {
        let file = "/proc/\(process)/cgroup"
        let text = try attempting("read", file) { () throws(Errno) in try readText(file) }
        guard let cgroup = cgroupPath(in: text) else {
            throw SystemError(
                "find", "a cgroup in \(file)", errno: .notSupported,
                hint: "the kernel has no cgroup v2 (CONFIG_CGROUPS)")
        }
        return cgroup
    }

    /// Reaches `cgroup` where no mount shows it, through a mount of our own that no path shows.
    private static func inDetachedMount(_ cgroup: String) throws(SystemError) -> CgroupDirectory {
        let hint =
            "no cgroup v2 mount shows this process's cgroup; mount one (mount -t cgroup2 none /sys/fs/cgroup),"
            + " or run as root"
        let mount = kernel_mount_cgroup2()
        if mount < 0 { throw SystemError("reach", "cgroup \(cgroup)", hint: hint) }
        let root = Descriptor(owning: mount)
        do {
            let directory = try Descriptor(opening: "." + cgroup, in: root.rawValue, O_RDONLY | O_DIRECTORY)
            return CgroupDirectory(directory, cgroup)
        } catch {
            throw SystemError("reach", "cgroup \(cgroup)", errno: error, hint: hint)
        }
    }

    /// One that is open already.
    package init(_ descriptor: consuming Descriptor, _ path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    package func copy() throws(SystemError) -> CgroupDirectory {
        CgroupDirectory(try attempting("open", path) { () throws(Errno) in try descriptor.copy() }, path)
    }

    /// The last part of the path.
    package var name: String { String(path[(path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex)...]) }

    /// The cgroup above, nil at the top of what is visible here.
    package func above() -> CgroupDirectory? {
        guard let up = try? Descriptor(opening: "..", in: descriptor.rawValue, O_RDONLY | O_DIRECTORY),
            CgroupDirectory.isCgroup2(up), CgroupDirectory.inode(up) != CgroupDirectory.inode(descriptor)
        else { return nil }
        let cut = path.lastIndex(of: "/") ?? path.startIndex
        return CgroupDirectory(up, cut == path.startIndex ? "/" : String(path[..<cut]))
    }

    /// Whether that is the same cgroup.
    package func isSame(as other: borrowing CgroupDirectory) -> Bool {
        CgroupDirectory.inode(descriptor) == CgroupDirectory.inode(other.descriptor)
    }

    /// The cgroups directly below.
    func children() -> [String] { descriptor.entries(CInt(DT_DIR)) }

    func child(_ name: String) throws(Errno) -> CgroupDirectory {
        let directory = try Descriptor(opening: name, in: descriptor.rawValue, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        return CgroupDirectory(directory, self.path(of: name))
    }

    func path(of child: String) -> String { path == "/" ? path + child : path + "/" + child }

    /// Processes in this cgroup itself; none where it was removed.
    func readProcesses() throws(Errno) -> [String] {
        do {
            return try readText("cgroup.procs", in: descriptor.rawValue).split(separator: "\n").map(String.init)
        } catch .noSuchFileOrDirectory, .operationNotSupportedByDevice {
            return []
        }
    }

    func processes() -> [String] { (try? readProcesses()) ?? [] }

    static func inode(_ descriptor: borrowing Descriptor) -> ino_t? {
        var status = stat()
        return fstat(descriptor.rawValue, &status) == 0 ? status.st_ino : nil
    }

    private static func isCgroup2(_ descriptor: borrowing Descriptor) -> Bool {
        kernel_filesystem_type(descriptor.rawValue) == Int64(CGROUP2_SUPER_MAGIC)
    }
}
