import Testing

@testable import Cgroups

@Suite struct MountTableTests {
    private static let pure = """
        22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
        28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
        30 22 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
        31 22 0:26 / /sys/fs/pstore rw,nosuid shared:10 - pstore pstore rw

        """
    private static let hybrid = """
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
        40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
        """
    private static let docker = """
        600 500 0:25 /docker/4f2a /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime master:9 - cgroup2 cgroup rw
        """

    @Test(arguments: [
        (pure, "/", "/sys/fs/cgroup"),
        (pure, "/user.slice/user-0.slice/session-1.scope", "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope"),
        (hybrid, "/", "/sys/fs/cgroup/unified"),
        (hybrid, "/a b", "/sys/fs/cgroup/unified/a b"),
        (docker, "/docker/4f2a", "/sys/fs/cgroup"),
        (docker, "/docker/4f2a/app/web", "/sys/fs/cgroup/app/web"),
        (docker, "/docker/4f2a/\u{301}", "/sys/fs/cgroup/\u{301}"), (docker, "/docker/4f2ab", nil),
        (docker, "/docker", nil), (docker, "/", nil),
        ("", "/", nil),
    ])
    func `a cgroup is found where its mount shows it`(mountinfo: String, cgroup: String, path: String?) {
        #expect(CgroupMount.all(in: mountinfo).compactMap { $0.path(of: cgroup) }.first == path)
    }

    @Test(arguments: ["none\r", "\u{301}"])
    func `a mount's source may be of any bytes`(source: String) {
        let line = "41 31 0:38 / /cg rw - cgroup2 \(source)"
        #expect(CgroupMount.all(in: "\(line)\n\(line)\n").count == 2)
    }

    @Test func `names that are only canonically the same are two`() {
        #expect(CgroupMount(root: "/caf\u{e9}", mountPoint: "/cg").path(of: "/cafe\u{301}/a") == nil)
    }

    @Test func `a container with a cgroup namespace has its own root`() {
        let mountinfo = "600 500 0:25 / /sys/fs/cgroup ro,relatime master:9 - cgroup2 cgroup rw"
        #expect(CgroupMount.all(in: mountinfo)[0].path(of: "/") == "/sys/fs/cgroup")
    }

    @Test(arguments: ["/..", "/../..", "/../other"])
    func `a mount from above or beside the namespace's root shows none of its cgroups`(root: String) {
        let mount = CgroupMount(root: root, mountPoint: "/sys/fs/cgroup")
        #expect(mount.path(of: "/") == nil)
        #expect(mount.path(of: "/app") == nil)
    }

    @Test(arguments: ["/..", "/../other", "/../../a/b", "/a/../b", "/a/../\u{301}b", "/../\u{301}"])
    func `a cgroup outside the namespace is nowhere`(cgroup: String) {
        #expect(CgroupMount(root: "/", mountPoint: "/sys/fs/cgroup").path(of: cgroup) == nil)
    }

    @Test(arguments: [
        (#"/mnt/my\040cgroups"#, "/mnt/my cgroups"), (#"/a\011b\012c"#, "/a\tb\nc"), (#"/back\134040"#, #"/back\040"#),
        (#"/caf\303\251"#, "/café"), (#"/short\04"#, #"/short\04"#), (#"/end\"#, #"/end\"#), (#"/no\999"#, #"/no\999"#),
        (#"/no\+12"#, #"/no\+12"#),
    ])
    func `octal escapes are undone once`(field: String, path: String) {
        let mounts = CgroupMount.all(in: "41 31 0:38 \(field) \(field) rw - cgroup2 cgroup2 rw")
        #expect(mounts == [CgroupMount(root: path, mountPoint: path)])
    }

    @Test(arguments: ["", "shared:1 ", "shared:1 master:2 ", "shared:1 master:2 propagate_from:3 unbindable "])
    func `optional fields may be many or none`(fields: String) {
        let mounts = CgroupMount.all(in: "41 31 0:38 / /cg rw,relatime \(fields)- cgroup2 cgroup2 rw,nsdelegate")
        #expect(mounts == [CgroupMount(root: "/", mountPoint: "/cg")])
    }

    @Test func `the last mount comes first`() {
        let mountinfo = """
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
            50 31 0:38 /app /srv/cgroup rw shared:4 - cgroup2 none rw
            """
        let mounts = CgroupMount.all(in: mountinfo)
        #expect(mounts.map(\.mountPoint) == ["/srv/cgroup", "/sys/fs/cgroup/unified"])
        #expect(mounts.compactMap { $0.path(of: "/app/x") } == ["/srv/cgroup/x", "/sys/fs/cgroup/unified/app/x"])
        #expect(mounts.compactMap { $0.path(of: "/other") } == ["/sys/fs/cgroup/unified/other"])
    }

    @Test(arguments: [
        "", "\n\n", "-", "- cgroup2", "41", "41 31 0:38 / /cg", "41 31 0:38 / /cg rw,relatime", "41 31 0:38 / /cg rw -",
        "41 31 0:38 / /cg - cgroup2 cgroup2 rw", "41 31 0:38 / /cg rw cgroup2 cgroup2 rw", "a b c d e f g - cgroup",
        "41 31 0:38 / /cg rw - cgroup cgroup2 rw", "41 31 0:38 / /cg rw - cgroup22 cgroup2 rw", "\0\u{fffd} - cgroup2",
    ])
    func `lines that are cut short or of other file systems are passed over`(line: String) {
        #expect(CgroupMount.all(in: line).isEmpty)
        #expect(CgroupMount.all(in: line + "\n1 2 0:3 / /x rw - cgroup2 none rw\n" + line).count == 1)
    }

    @Test(arguments: [
        ("0::/\n", "/"), ("0::/user.slice/a:b\n", "/user.slice/a:b"), ("0::/with space", "/with space"),
        ("0::/\u{301}a\n", "/\u{301}a"), ("1:pids:/a\r\n0::/b\r\n", "/b\r"), ("0::/../sibling\n", "/../sibling"),
        ("0::/gone (deleted)\n", "/gone (deleted)"),
        ("9:name=systemd:/init\n8:pids:/p\n0::/v2\n", "/v2"),
        ("12:pids:/x\n1:name=systemd:/y\n", nil), ("", nil), ("0::", nil), ("0:", nil), ("10::/x\n", nil), (":/", nil),
    ])
    func `a process's cgroup is the line of hierarchy 0`(text: String, path: String?) {
        #expect(cgroupPath(in: text) == path)
    }
}
