/// A mount of the cgroup v2 file system, as /proc/PID/mountinfo shows it (proc_pid_mountinfo(5)).
package struct CgroupMount: Equatable, Sendable {
    /// The cgroup that is the root of the mount; other than `/` for a bind mount, as in some containers.
    package let root: String
    /// Where it is mounted.
    package let mountPoint: String

    /// All cgroup v2 mounts in `mountinfo`, the last mounted first: it hides earlier ones at its place.
    package static func all(in mountinfo: String) -> [CgroupMount] {
        // By bytes: a separator and a mark that combines with it would be one character.
        mountinfo.utf8.split(separator: UInt8(ascii: "\n")).reversed().compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " ")).map(Substring.init)
            guard let separator = fields.firstIndex(of: "-"), separator >= 6, separator + 1 < fields.count,
                fields[separator + 1] == "cgroup2"
            else { return nil }
            return CgroupMount(root: unescape(fields[3]), mountPoint: unescape(fields[4]))
        }
    }

    /// Where the mount shows `cgroup` (a path of /proc/PID/cgroup); nil if it isn't below the mount's root.
    package func path(of cgroup: String) -> String? {
        let names = cgroup.utf8.split(separator: UInt8(ascii: "/"))
        if names.contains(where: { $0.elementsEqual("..".utf8) }) { return nil }
        if root == "/" { return cgroup == "/" ? mountPoint : mountPoint + cgroup }
        guard cgroup.utf8.starts(with: root.utf8) else { return nil }
        let rest = cgroup.utf8.dropFirst(root.utf8.count)
        return rest.isEmpty || rest.first == UInt8(ascii: "/") ? mountPoint + Substring(rest) : nil
    }

    /// Undoes the octal escapes of mountinfo (`\040` for a space).
    private static func unescape(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            let octal = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), octal.count == 3,
                octal.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "7") ~= $0 }),
                let code = UInt8(String(decoding: octal, as: UTF8.self), radix: 8)
            {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The cgroup v2 path in the text of /proc/PID/cgroup: the line of hierarchy 0 (cgroups(7)).
package func cgroupPath(in procCgroup: String) -> String? {
    let lines = procCgroup.utf8.split(separator: UInt8(ascii: "\n"))
    return lines.first { $0.starts(with: "0::/".utf8) }.map { String(Substring($0.dropFirst(3))) }
}
