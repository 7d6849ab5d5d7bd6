import Foundation
import Testing

/// Where runs can't be recorded: they limit all the same, and -v says that `throttle cleanup` won't know of them.
@Suite struct RecordTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private static let places = [
        ("mount -t tmpfs -o mode=700,nr_inodes=1 none /run/throttle", "No space left on device"),
        // What nobody has locked there counts as a dead run's, and is removed.
        (
            "mount -t tmpfs -o mode=700,size=4k none /run/throttle; exec 9>/run/throttle/1; flock 9; head -c 4096 /dev/zero >&9",
            "No space left on device"
        ),
        ("mount -t tmpfs -o mode=700,ro none /run/throttle", "Read-only file system"),
        ("mount -t tmpfs -o mode=777 none /run/throttle", "Permission denied"),
        ("mount -t tmpfs -o mode=700,uid=65534 none /run/throttle", "Permission denied"),
        ("mount -t tmpfs -o mode=777 none /run", "Permission denied"),
        ("mount -t tmpfs -o mode=755,ro none /run", "Read-only file system"),
        ("mount -t tmpfs -o mode=755 none /run; ln -s /tmp /run/throttle", "Not a directory"),
        ("mount -t tmpfs -o mode=755 none /run; : >/run/throttle", "Not a directory"),
    ]

    @Test(arguments: places)
    func `unusable place costs only the record`(_ preparation: String, _ reason: String) throws {
        let script = #"mkdir -p /run/throttle; \#(preparation); exec "$@""#
        let shell = ["unshare", "-m", "sh", "-ec", script, "sh"]
        let silent = try lab.run(shell + throttle("-d", "50k") + ["sh", "-c", "exit 7"])
        #expect(silent.ending == .exited(7) && silent.stderr == "")
        let told = try lab.run(shell + throttle("-d", "50k", "-v") + ["sh", "-c", "exit 7"])
        let lines = told.stderr.split(separator: "\n").filter { $0.contains("record") }
        #expect(told.ending == .exited(7) && lines.count == 1 && lines.allSatisfy { $0.hasSuffix(reason) }, "\(lines)")
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    @Test func `missing place is made and left empty`() throws {
        let script = #"mount -t tmpfs -o mode=755 none /run; "$@"; ls -ld /run/throttle; ls -A /run/throttle"#
        let limiting = throttle("-d", "50k", "-v") + ["sh", "-c", "ls /run/throttle >recorded"]
        let completed = try lab.run(["unshare", "-m", "sh", "-ec", script, "sh"] + limiting)
        #expect(completed.ending == .exited(0) && !completed.stderr.contains("not recorded"))
        #expect(completed.stdout.hasPrefix("drwx------ "))
        #expect(completed.stdout.split(separator: "\n").count == 1)
        #expect(try lab.content("recorded").count > 1)
    }

    /// As a guard leaves it that was killed when the run's record was gone already.
    @Test func `socket without a record is removed`() throws {
        let script = #"""
            mount -t tmpfs -o mode=755 none /run; mkdir -m 700 /run/throttle; cd /run/throttle
            python3 -c 'import socket; [socket.socket(1).bind(f"{n}.socket") for n in (1, 2)]'
            : >2; exec 9<2; flock 9; "$1" cleanup; ls; "$1" -d 50k true; ls
            """#
        let completed = try lab.run(["unshare", "-m", "sh", "-ec", script, "sh", throttlePath])
        #expect(completed.ending == .exited(0) && completed.stdout.contains("removed record /run/throttle/1.socket\n"))
        #expect(completed.stdout.hasSuffix("2\n2.socket\n2\n2.socket\n"))
    }
}
