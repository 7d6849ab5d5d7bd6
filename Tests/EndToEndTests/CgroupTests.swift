import Foundation
import Testing

/// Where runs make their cgroups, however the cgroup file system looks, and that they remove them.
@Suite struct CgroupTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    /// Runs a script and checks that it started one run of throttle, in our cgroup, which is gone again.
    private func expectRun(_ script: String, in cgroup: TestCgroup? = nil) throws -> Completed {
        let watched = cgroup ?? lab.cgroup
        let words = ["sh", "-ec", script, "sh"] + throttle("-d", "50k", "--debug") + ["sh", "-c", "exit 7"]
        let (completed, made) = try lab.watchingForCgroups(in: watched) {
            try lab.start(words, in: watched).wait()
        }
        #expect(completed.ending == .exited(7), "\(completed.stderr)")
        #expect(made.count == 1)
        #expect(watched.runs == [])
        return completed
    }

    /// Hides all cgroup file systems in a mount namespace of the script's own.
    private let hideCgroups = "mount --make-rprivate / && umount -R -l /sys/fs/cgroup"

    @Test func `caller in a nested cgroup`() throws {
        let outer = try TestCgroup("outer", in: lab.cgroup.path)
        let inner = try TestCgroup("a b\\c", in: outer.path)
        let completed = try expectRun(#""$@""#, in: inner)
        #expect(completed.stderr.contains(inner.path))
    }

    @Test func `cgroup namespace with its own mount`() throws {
        let mount = #"mkdir "else where" && mount -t cgroup2 none "else where""#
        let both = try expectRun(#"exec unshare -mC sh -ec '\#(mount); exec "$@"' sh "$@""#)
        #expect(both.stderr.contains("created cgroup "))
        let script = #"exec unshare -mC sh -ec '\#(hideCgroups); rmdir "else where"; \#(mount); exec "$@"' sh "$@""#
        let alone = try expectRun(script)
        #expect(alone.stderr.contains("created cgroup \(lab.folder)/else where/throttle-"))
    }

    @Test func `pure cgroup2 at its usual place`() throws {
        let mount = "mount -t cgroup2 none /sys/fs/cgroup"
        let script = #"exec unshare -m sh -ec '\#(hideCgroups); \#(mount); exec "$@"' sh "$@""#
        #expect(try expectRun(script).stderr.contains("created cgroup /sys/fs/cgroup/e2e-"))
    }

    @Test func `bind mount of the callers cgroup as in a container`() throws {
        let bind = #"mkdir kept && mount --bind "$PARENT" kept && \#(hideCgroups) && mount --bind kept /sys/fs/cgroup"#
        let script = #"""
            export PARENT='\#(lab.cgroup.path)'
            exec unshare -m sh -ec '\#(bind); umount kept; exec "$@"' sh "$@"
            """#
        #expect(try expectRun(script).stderr.contains("created cgroup /sys/fs/cgroup/throttle-"))
    }

    @Test func `no mount at all`() throws {
        let script = #"exec unshare -m sh -ec '\#(hideCgroups); exec "$@"' sh "$@""#
        _ = try expectRun(script)
    }

    /// It mounts a new /sys over the old one, where no cgroup is to be seen.
    @Test func `inside ip netns exec`() throws {
        let network = try NetworkPair(lab)
        _ = try expectRun(#"exec ip netns exec \#(network.near.name) "$@""#)
        let server = try FileServer(in: network.far, lab, bytes: 200_000)
        let fetching = ["curl", "-sSf", "-o", "copy", server.url(NetworkPair.farAddress)]
        let words = ["ip", "netns", "exec", network.near.name] + throttle("-d", "100k", "--stats=json") + fetching
        let completed = try lab.run(words)
        #expect(try lab.content("copy") == server.content)
        let stats = try Stats(completed.stderr)
        #expect(stats.download.verdict == "throttled")
        #expect(200_000 / completed.seconds < 125_000)
        #expect(lab.cgroup.runs == [])
    }

    @Test func `read only mount gives 125 and says so`() throws {
        let script = #"""
            exec unshare -m sh -ec 'mount --make-rprivate / && mount -o remount,bind,ro "$0" && exec "$@"' "$MOUNT" "$@"
            """#
        let mount = try mountPoint()
        let words = ["env", "MOUNT=\(mount)", "sh", "-ec", script, "sh"] + throttle("-d", "50k")
        let completed = try lab.run(words + ["touch", "ran"])
        #expect(completed.ending == .exited(125) && completed.stdout == "")
        #expect(completed.stderr.contains("Read-only") && completed.stderr.contains("mounted read-only"))
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(lab.cgroup.runs == [])
    }

    private func mountPoint() throws -> String {
        try lab.require(["stat", "-c", "%m", lab.cgroup.path]).trimmingCharacters(in: .newlines)
    }

    @Test func `cgroup parent is where the run goes`() throws {
        let elsewhere = try TestCgroup("elsewhere", in: lab.cgroup.path)
        let (completed, made) = try lab.watchingForCgroups(in: elsewhere) {
            try lab.run(throttle("-d", "50k", "--cgroup-parent", elsewhere.path) + ["cat", "/proc/self/cgroup"])
        }
        #expect(completed.ending == .exited(0))
        #expect(completed.stdout.contains("/commands/elsewhere/throttle-"))
        #expect(made.count == 1)
        #expect(lab.cgroup.children == ["elsewhere"] && elsewhere.children == [])
    }

    @Test(arguments: ["/tmp", "/missing/cgroup", "/dev/null", "/sys/fs/cgroup/../../../proc", ""])
    func `cgroup parent that is none gives 125`(_ path: String) throws {
        let completed = try lab.run(throttle("-d", "50k", "--cgroup-parent", path) + ["touch", "ran"])
        #expect(completed.ending == .exited(125) && completed.stdout == "")
        #expect(completed.stderr.hasPrefix("throttle: can't "))
        #expect(path == "" || completed.stderr.contains(" \(path): "))
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
    }

    @Test(arguments: ["link", "legacy"])
    func `processes left behind are named and freed and the status comes at once`(_ method: String) throws {
        let script = "sleep 61 & setsid sleep 62 & exit 5"
        let limits = throttle("-d", "50k", "--linger", "release", "--attach", method)
        let completed = try lab.run(limits + ["sh", "-c", script])
        #expect(completed.ending == .exited(5))
        #expect(completed.seconds < 20)
        #expect(completed.stderr.split(separator: "\n").count == 1)
        #expect(completed.stderr.contains("left 2 processes running"))
        #expect(lab.cgroup.children == [])
        #expect(poll { lab.cgroup.processes.count == 2 })
        let quiet = throttle("-d", "50k", "--linger", "release", "-q", "--attach", method)
        let silent = try lab.run(quiet + ["sh", "-c", script])
        #expect(silent.ending == .exited(5) && silent.stderr == "")
    }

    @Test func `cgroups that the command made inside are removed too`() throws {
        let script = """
            cd \(lab.cgroup.path)/throttle-*/run && mkdir -p a/b throttle-service &&
            sh -c 'echo 0 >a/b/cgroup.procs; exec sleep 61' & sleep 0.3; exit 5
            """
        let completed = try lab.run(throttle("-d", "50k", "--linger", "release") + ["sh", "-c", script])
        #expect(completed.ending == .exited(5))
        #expect(completed.stderr.contains("left 1 process running"))
        #expect(lab.cgroup.children == [])
        #expect(poll { lab.cgroup.processes.count == 1 })
    }

    @Test func `cgroup of a dead run is swept by the next one once it is empty`() throws {
        let killed = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; exec sleep 60"])
        try killed.waitForOutput("ready")
        // Its guard, too.
        for pid in lab.cgroup.processes { kill(pid, SIGKILL) }
        #expect(try killed.wait().ending == .killed(SIGKILL))
        let name = "throttle-\(killed.pid)"
        let left = TestCgroup.processes(of: "\(lab.cgroup.path)/\(name)/run")
        #expect(left.count == 1)
        // Its command still runs, so it stays.
        try lab.require(throttle("-d", "50k") + ["true"])
        #expect(lab.cgroup.runs == [name])
        for pid in left { kill(pid, SIGKILL) }
        #expect(poll { TestCgroup.processes(of: "\(lab.cgroup.path)/\(name)/run").isEmpty })
        try lab.require(throttle("-d", "50k") + ["true"])
        #expect(lab.cgroup.runs == [])
    }

    @Test func `sweep leaves live runs and foreign cgroups alone`() throws {
        let foreign = ["throttle-web.service", "throttle-", "throttle-1x", "throttle-1-2-3", "throttled-1", "throttle"]
        let cgroups = try foreign.map { try TestCgroup($0, in: lab.cgroup.path) }
        let live = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try live.waitForOutput("ready")
        try lab.require(throttle("-d", "50k") + ["true"])
        #expect(Set(lab.cgroup.children) == Set(foreign + ["throttle-\(live.pid)"]))
        live.closeInput()
        #expect(try live.wait().ending == .exited(0))
        #expect(Set(lab.cgroup.children) == Set(cgroups.map { String($0.path.dropFirst(lab.cgroup.path.count + 1)) }))
    }

    @Test func `hundred runs at once do not disturb each other`() throws {
        let runs = try (0..<100).map { try lab.start(throttle("-d", "50k") + ["sh", "-c", "exit \($0)"]) }
        for (code, run) in runs.enumerated() {
            let completed = try run.wait()
            #expect(completed.ending == .exited(CInt(code)))
            #expect(completed.stderr == "")
        }
        #expect(lab.cgroup.children == [])
    }
}
