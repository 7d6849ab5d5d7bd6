import TestSupport
import Testing

@testable import Cgroups

@Suite(.serialized) struct MountTableFuzzTests {
    private static let mountinfo = Corpus.bytes([
        "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n30 22 0:25 / /sys/fs/cgroup rw shared:9 - cgroup2 none rw\n",
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        "600 500 0:25 /docker/4f2a /sys/fs/cgroup ro,nosuid master:9 - cgroup2 cgroup rw\r\n",
        "50 31 0:38 /../app /srv/my\\040cgroups rw shared:4 master:2 - cgroup2 none rw",
    ])
    private static let cgroups = Corpus.bytes([
        "0::/\n", "0::/user.slice/a:b\n", "0::/../sibling\n", "9:name=systemd:/init\r\n0::/docker/4f2a/web\n",
        "0::/docker/4f2a/..\n", "0::/gone (deleted)", "0::/a/../\u{301}b\n", "0::/\u{301}b\r\n",
    ])

    @Test(arguments: Fuzzing.seeds)
    func `a cgroup is found below a mount or not at all`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            try Fuzzing.run(seed: seed, times: 4000) { random in
                let table = String(decoding: random.mutated(MountTableFuzzTests.mountinfo), as: UTF8.self)
                let text = String(decoding: random.mutated(MountTableFuzzTests.cgroups), as: UTF8.self)
                let mounts = CgroupMount.all(in: table)
                #expect(mounts.count <= table.utf8.count / 20, "seed \(seed): \(table.debugDescription)")
                let isThere = text.utf8.split(separator: UInt8(ascii: "\n")).contains { $0.starts(with: "0::/".utf8) }
                #expect((cgroupPath(in: text) != nil) == isThere, "seed \(seed): \(text.debugDescription)")
                guard let cgroup = cgroupPath(in: text) else { return }
                for mount in mounts {
                    guard let path = mount.path(of: cgroup) else { continue }
                    let rest = path.utf8.dropFirst(mount.mountPoint.utf8.count)
                    let isBelow =
                        path.utf8.starts(with: mount.mountPoint.utf8) && [nil, UInt8(ascii: "/")].contains(rest.first)
                    let climbs = rest.split(separator: UInt8(ascii: "/")).contains { Array($0) == Array("..".utf8) }
                    #expect(isBelow && !climbs, "seed \(seed): \(mount) \(cgroup.debugDescription): \(path)")
                }
            }
        }
    }
}
