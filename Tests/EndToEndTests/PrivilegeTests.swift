import Foundation
import Testing

/// Users other than root: with file capabilities and a delegated cgroup, and without anything.
@Suite struct PrivilegeTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    @Test func `file capabilities are enough in a delegated cgroup`() throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        for method in ["link", "legacy"] {
            let words = [binary, "-d", "50k", "--stats=json", "--attach", method, "--", "sh", "-c", "id -u; exit 3"]
            let completed = try lab.run(Lab.nobody + words)
            #expect(completed.ending == .exited(3) && completed.stdout == "65534\n")
            #expect(try Stats(completed.stderr).attach_method == method)
            #expect(lab.cgroup.runs == [])
        }
    }

    /// nil: the run is recorded there.
    @Test(arguments: [
        ("ours", nil), ("missing", "No such file or directory"), ("link", "Not a directory"),
        ("open", "Permission denied"), ("theirs", "Permission denied"), ("relative", "Invalid argument"),
    ])
    func `runtime directory must be the users alone`(_ kind: String, _ reason: String?) throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let script =
            "mkdir -m 700 ours theirs; mkdir -m 777 open; chown 65534 ours open; chmod 777 open; ln -s ours link"
        try lab.require(["sh", "-ec", script])
        let path = kind == "relative" ? "ours" : "\(lab.folder)/\(kind)"
        let words = [binary, "-d", "50k", "-v", "--", "sh", "-c", "ls $XDG_RUNTIME_DIR/throttle; exit 3"]
        let environment = ["env", "XDG_RUNTIME_DIR=\(path)"]
        let completed = try lab.run(environment + Lab.nobody + words)
        #expect(completed.ending == .exited(3))
        let line = completed.stderr.split(separator: "\n").first { $0.contains("not recorded") }
        if let reason {
            #expect(line?.hasSuffix("can't use \(path)/throttle: \(reason)") == true, "\(completed.stderr)")
        } else {
            #expect(line == nil && completed.stdout != "")
        }
    }

    @Test func `command has no capabilities of the wrapper`() throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let grep = ["grep", "-E", "^(Cap|NoNewPrivs|Sig[^Q])", "/proc/self/status"]
        let bare = try lab.run(Lab.nobody + grep)
        let limited = try lab.run(Lab.nobody + [binary, "-d", "50k", "--"] + grep)
        #expect(limited.ending == .exited(0))
        #expect(bare.stdout == limited.stdout)
        #expect(limited.stdout.contains("CapEff:\t0000000000000000"))
        #expect(limited.stdout.contains("CapPrm:\t0000000000000000"))
    }

    /// glibc takes these out of the environment of a program with file capabilities.
    @Test func `environment of a capable binary reaches the command unchanged`() throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let environment = [
            "env", "-i", "LD_LIBRARY_PATH=/opt/none", "LD_DEBUG_OUTPUT=/tmp/none", "GCONV_PATH=/x", "TMPDIR=/var/tmp",
            "MALLOC_TRACE=/x", "RES_OPTIONS=ndots:1", "Z=\u{fc}", "A=", "PATH=/usr/bin:/bin",
        ]
        let show = ["/bin/cat", "/proc/self/environ"]
        let bare = try lab.run(Lab.nobody + environment + show)
        let limited = try lab.run(Lab.nobody + environment + [binary, "-d", "50k", "--"] + show)
        #expect(limited.ending == .exited(0))
        #expect(bare.stdout == limited.stdout)
        #expect(limited.stdout.contains("LD_LIBRARY_PATH=/opt/none\0"))
    }

    @Test(arguments: [["--stats-file", "report"], ["--stats-file", "secret"], ["--cgroup-parent", "secret"]])
    func `capable binary opens no file that its user may not`(_ options: [String]) throws {
        try lab.delegate()
        try lab.require(["install", "-d", "-m", "700", "secret"])
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let file = options[1] == "secret" ? "secret/file" : options[1]
        let completed = try lab.run(Lab.nobody + [binary, "-d", "50k", options[0], file, "--", "true"])
        #expect(completed.ending == .exited(125))
        #expect(
            completed.stderr.hasPrefix("throttle: can't open ") && completed.stderr.hasSuffix("Permission denied\n"))
    }

    /// CAP_NET_ADMIN has root's rights on net sysctls, and a report begins with the command's name.
    @Test(arguments: [[], ["--best-effort"]])
    func `capable binary writes no sysctl that its user may not`(_ options: [String]) throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let sysctl = "/proc/sys/net/ipv4/ip_forward"
        let attack = [binary, "-d", "50k", "--stats-file", sysctl] + options + ["--", "1 x"]
        let script = #"ln -s /bin/true "1 x"; PATH=$PWD:$PATH; echo 0 >"$0"; "$@"; echo $?; cat "$0""#
        let nobody = try lab.run(["sh", "-c", script, sysctl] + Lab.nobody + attack)
        #expect(nobody.stdout == "125\n0\n")
        #expect(nobody.stderr == "throttle: can't open \(sysctl): Permission denied\n")
        // Root could, but is warned of it.
        let root = try lab.run(["sh", "-c", script, sysctl] + attack)
        #expect(root.stdout == "125\n0\n")
        #expect(root.stderr.hasSuffix("can't write a report to \(sysctl): Operation not supported\n"))
    }

    @Test func `without capabilities the error names them and the setcap line`() throws {
        let binary = try lab.copyOfBinary()
        let completed = try lab.watchingForCgroups {
            try lab.run(Lab.nobody + [binary, "-d", "50k", "--", "touch", "ran"])
        }
        #expect(completed.value.ending == .exited(125) && completed.value.stdout == "")
        let lines = completed.value.stderr.split(separator: "\n")
        #expect(lines.count == 1)
        #expect(lines.first?.contains("missing capabilities cap_bpf, cap_net_admin, cap_perfmon:") == true)
        #expect(lines.first?.contains("setcap cap_bpf,cap_net_admin,cap_perfmon+ep \(binary)") == true)
        #expect(completed.made == [])
    }

    @Test(arguments: ["cap_bpf", "cap_net_admin", "cap_perfmon"])
    func `error names the one capability that is missing`(_ missing: String) throws {
        try lab.delegate()
        let others = ["cap_bpf", "cap_net_admin", "cap_perfmon"].filter { $0 != missing }.joined(separator: ",")
        let binary = try lab.copyOfBinary(capabilities: "\(others)+ep")
        let completed = try lab.run(Lab.nobody + [binary, "-d", "50k", "--", "true"])
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr.contains("missing capability \(missing):"))
    }

    @Test func `foreign cgroup gives 125 and says what to do`() throws {
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let completed = try lab.run(Lab.nobody + [binary, "-d", "50k", "--", "true"])
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr.contains("Permission denied") && completed.stderr.contains("delegated"))
        #expect(lab.cgroup.runs == [])
    }

    /// Nothing is moved there, which the kernel would refuse.
    @Test func `capable binary limits no cgroup that isn't its user's`() throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let cgroup = try TestCgroup("theirs", in: lab.helpers.path)
        let target = try lab.start(["sleep", "60"], in: cgroup)
        defer {
            kill(target.pid, SIGKILL)
            _ = try? target.wait()
        }
        let words = Lab.nobody + [binary, "-d", "50k", "--for", "1ms", "--cgroup", cgroup.path]
        let refused = try lab.run(words)
        #expect(refused.ending == .exited(125))
        let denied = "Permission denied; run as root: it isn't delegated to you\n"
        #expect(refused.stderr == "throttle: can't limit cgroup \(cgroup.path): \(denied)")
        try lab.require(["chown", "65534", "\(cgroup.path)/cgroup.procs"])
        let completed = try lab.run(words)
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
    }

    @Test func `best effort runs the command anyway`() throws {
        let binary = try lab.copyOfBinary()
        let words = [binary, "-d", "50k", "--best-effort", "--", "sh", "-c", "echo out; exit 8"]
        let completed = try lab.run(Lab.nobody + words)
        #expect(completed.ending == .exited(8) && completed.stdout == "out\n")
        #expect(completed.stderr.contains("NOT THROTTLED") && completed.stderr.contains("cap_bpf"))
        #expect(completed.stderr.split(separator: "\n").count == 1)
    }

    @Test func `best effort still refuses a bad command line`() throws {
        let words = [throttlePath, "-d", "fast", "--best-effort", "--", "touch", "ran"]
        #expect(try lab.run(words).ending == .exited(125))
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
    }

    /// Nobody's run in a namespace, whose downloads are shaped, until its input is closed. Its records are in
    /// `runtime/throttle`.
    private func startShapedRun(in namespace: Namespace) throws -> Child {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        try lab.require(["install", "-d", "-m", "700", "-o", "65534", "\(lab.folder)/runtime"])
        let options = ["-d", "50k", "--mode", "shape", "-v"]
        let words = [binary] + options + ["--", "sh", "-c", "echo ready; read x; exit 3"]
        let child = try lab.start(
            namespace.entry + Lab.nobody + words, environment: ["XDG_RUNTIME_DIR": "\(lab.folder)/runtime"],
            input: .pipe)
        try child.waitForOutput("ready")
        return child
    }

    /// The words that clean up as this user, as if our cgroup and the namespace were all there is.
    private func cleanup(as user: [String], in namespace: Namespace, _ options: String...) -> [String] {
        let script = #"""
            mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs -o mode=755 none /run
            mkdir -p /run/user/65534 && mount --bind runtime /run/user/65534 && exec "$@"
            """#
        let shell = ["unshare", "-mC", "sh", "-ec", script, "sh"]
        return namespace.entry + shell + user + ["\(lab.folder)/throttle", "cleanup"] + options
    }

    private static let another = ["setpriv", "--reuid=4001", "--regid=4001", "--clear-groups", "--inh-caps=-all", "--"]

    @Test func `ordinary users downloads are shaped and their record is theirs`() throws {
        let namespace = try Namespace(lab)
        let child = try startShapedRun(in: namespace)
        let record = "runtime/throttle/\(child.pid)"
        let access = try lab.require(["stat", "-c", "%u %a", "runtime/throttle", record])
        #expect(access == "65534 700\n65534 600\n")
        #expect(try lab.content(record).contains(Data(#""command":["sh","#.utf8)))
        let guards = lab.cgroup.processes.filter { $0 != child.pid }
        #expect(guards.count == 1)
        let words = PrivilegeTests.another + ["kill", "-9"] + guards.map { "\($0)" }
        #expect(try lab.run(words).stderr.contains("not permitted"))
        for options in [[], ["--dry-run"]] {
            for user in [[], PrivilegeTests.another] {
                let completed = try lab.run(cleanup(as: user, in: namespace) + options)
                #expect(completed.ending == .exited(0) && completed.stdout == "nothing to clean up\n")
            }
        }
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(3) && completed.stderr.contains("mode shape: shape window police"))
        #expect(poll { lab.cgroup.processes == [] })
        #expect(try lab.require(["ls", "runtime/throttle"]) == "")
    }

    /// Somebody else could swap what is in it.
    @Test func `record goes only where nobody else can write`() throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let script = """
            install -d -m 777 -o 65534 loose; install -d -m 755 foreign; install -d -m 700 -o 65534 own linked
            ln -s own link; ln -s ../own linked/throttle
            """
        try lab.require(["sh", "-c", script])
        for name in [
            "\(lab.folder)/loose", "\(lab.folder)/foreign", "\(lab.folder)/link", "\(lab.folder)/linked", "own",
        ] {
            let words = [
                binary, "-d", "50k", "-v", "--", "sh", "-c", "find loose foreign own linked -type f -o -type d; exit 7",
            ]
            let completed = try lab.run(Lab.nobody + words, environment: ["XDG_RUNTIME_DIR": name])
            #expect(completed.ending == .exited(7))
            #expect(completed.stdout == "loose\nforeign\nown\nlinked\n", "\(name)")
            let reason = "throttle: not recorded, so not known to throttle cleanup: can't use \(name)/throttle: "
            #expect(completed.stderr.contains(reason), "\(name)")
        }
    }

    @Test func `dead runs of another user are left to that user and to root`() throws {
        let namespace = try Namespace(lab)
        let child = try startShapedRun(in: namespace)
        child.send(SIGSTOP)
        for pid in lab.cgroup.processes where pid != child.pid { kill(pid, SIGKILL) }
        #expect(poll { lab.cgroup.processes == [child.pid] })
        child.send(SIGKILL)
        #expect(try child.wait().ending == .killed(SIGKILL))
        child.closeInput()
        #expect(poll { TestCgroup.processes(of: "\(lab.cgroup.path)/throttle-\(child.pid)/run").isEmpty })
        // Without capabilities.
        try lab.require(["setcap", "-r", "\(lab.folder)/throttle"])
        for options in [[], ["--dry-run"]] {
            let other = try lab.run(cleanup(as: PrivilegeTests.another, in: namespace) + options)
            #expect(other.ending == .exited(0) && other.stdout == "nothing to clean up\n" && other.stderr == "")
        }
        #expect(lab.cgroup.runs == ["throttle-\(child.pid)"])
        let cgroup = "cgroup /sys/fs/cgroup/throttle-\(child.pid)\n"
        let record = "record /run/user/65534/throttle/\(child.pid) (sh, pid \(child.pid))\n"
        let theirs = try lab.run(cleanup(as: Lab.nobody, in: namespace, "--dry-run"))
        #expect(theirs.stdout == "would remove \(cgroup)would remove \(record)")
        let root = try lab.run(cleanup(as: [], in: namespace))
        let found = [cgroup, "device thr-\(child.pid)\n", record]
        #expect(root.ending == .exited(0) && root.stdout == found.map { "removed \($0)" }.joined())
        #expect(lab.cgroup.children == [])
        #expect(try lab.require(["ls", "runtime/throttle"]) == "")
    }
}

/// Queues, as an ordinary user may keep them from others.
extension PrivilegeTests {
    /// A device has room for 64 programs.
    @Test func `queues of one user leave room for others`() throws {
        let namespace = try Namespace(lab)
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let script = #"""
            for i in $(seq 66); do "$1" -d 50k -v -- bash -c "echo >/dev/udp/127.0.0.1/9; exec sleep 60" 2>>"$2" & done
            until [ "$(grep -c "shaped\|in a queue" "$2")" -ge 66 ]; do sleep 0.1; done; echo ready; read x
            """#
        try lab.require(["install", "-o", "65534", "/dev/null", "told"])
        let words = Lab.nobody + ["sh", "-c", script, "sh", binary, "told"]
        let crowd = try lab.start(namespace.entry + words, input: .pipe)
        try crowd.waitForOutput("ready")
        let told = try String(decoding: lab.content("told"), as: UTF8.self)
        #expect(told.contains("not shaped: can't create another queue: Device or resource busy; user 65534 has "))
        let devices = try lab.require(["ip", "-n", namespace.name, "-o", "link"])
        // Whoever came while others were about to make way did so, too.
        #expect(28...32 ~= devices.matches(of: /alias throttle run [0-9]+ of user 65534/).count)
        let root = try lab.start(namespace.entry + throttle("-d", "50k", "--mode", "shape") + ["true"]).wait()
        #expect(root.ending == .exited(0), "\(root.stderr)")
    }

    private static let squatter = #"""
        import os, socket, sys, time
        def take(name):
            squatter = socket.socket(socket.AF_UNIX)
            squatter.bind("\0throttle/" + name)
            return squatter
        taken = [take(name) for name in sys.argv[1:]]
        print("ready", flush=True)
        time.sleep(60)
        """#

    /// Without any capability.
    @Test func `names that somebody took keep nobody from a queue`() throws {
        let namespace = try Namespace(lab)
        let script = #"echo "pid $$ "; read x; exec "$@""#
        let words = throttle("-d", "50k", "--mode", "shape", "--debug") + ["true"]
        let child = try lab.start(namespace.entry + ["sh", "-c", script, "sh"] + words, input: .pipe)
        try child.waitForOutput("pid ")
        let names = (1...100).map { "thr-\(child.pid)" + ($0 == 1 ? "" : "-\($0)") }
        let squatting = ["python3", "-c", PrivilegeTests.squatter] + names
        let squatter = try lab.start(namespace.entry + Lab.nobody + squatting, in: lab.helpers)
        try squatter.waitForOutput("ready")
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        #expect(completed.stderr.contains(/created device thr-[0-9]{11}\s/))
    }

    /// Who has the name of a dead run's queue keeps it only as the run's own user; then it is said who that is.
    @Test func `name of a dead runs queue is held by its user only and that is said`() throws {
        let namespace = try Namespace(lab)
        let child = try startShapedRun(in: namespace)
        let device = "thr-\(child.pid)"
        child.send(SIGSTOP)
        for pid in lab.cgroup.processes where pid != child.pid { kill(pid, SIGKILL) }
        child.send(SIGKILL)
        _ = try child.wait()
        child.closeInput()
        #expect(poll { (try? lab.run(["flock", "-n", "runtime/throttle/\(child.pid)", "true"]).ending) == .exited(0) })
        let squatting = ["python3", "-c", PrivilegeTests.squatter, device]
        let own = try lab.start(namespace.entry + Lab.nobody + squatting, in: lab.helpers)
        try own.waitForOutput("ready")
        let left = try lab.run(cleanup(as: [], in: namespace))
        let holder = "process \(own.pid) of user 65534"
        let words = "left device \(device): no run of it is recorded, but its name is held by \(holder)\n"
        #expect(left.ending == .exited(0) && left.stdout.contains(words), "\(left.stdout)")
        own.send(SIGKILL)
        _ = try own.wait()
        let other = try lab.start(namespace.entry + PrivilegeTests.another + squatting, in: lab.helpers)
        try other.waitForOutput("ready")
        let removed = try lab.run(cleanup(as: [], in: namespace))
        #expect(removed.ending == .exited(0) && removed.stdout == "removed device \(device)\n")
    }
}

/// An ordinary user who may limit.
extension Lab {
    static let nobody = [
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--ambient-caps=-all", "--",
    ]

    /// What `make setcap` gives the binary.
    static let limiting = "cap_bpf,cap_net_admin,cap_perfmon+ep"

    /// A copy of the binary that anyone may run; `capabilities` are the file's.
    func copyOfBinary(capabilities: String? = nil) throws -> String {
        let path = "\(folder)/throttle"
        try require(["install", "-m", "755", throttlePath, path])
        if let capabilities { try require(["setcap", capabilities, path]) }
        return path
    }

    /// Hands our cgroup over as cgroups(7) says it is delegated.
    func delegate() throws {
        try require(["chown", "65534", cgroup.path, "\(cgroup.path)/cgroup.procs"])
    }
}
