import Foundation
import Testing

/// What a run sets up on devices, and that it goes however the run ends. One after the other, as a cleanup finds what
/// dead runs left in any network namespace.
@Suite(.serialized) struct GuardTests {
    let lab: Lab
    let namespace: Namespace

    init() throws {
        lab = try Lab()
        namespace = try Namespace(lab)
    }

    /// Devices, qdiscs, filters and programs by tcx of the namespace.
    private func everything() throws -> String {
        let script = #"ip -o link | cut -d' ' -f2-8; tc qdisc; tc filter show dev lo ingress; python3 "$1" list"#
        return try lab.require(namespace.entry + ["sh", "-c", script, "sh", Fixtures.script("tcx.py")])
    }

    /// How many programs loopback has by tcx.
    private func links() -> Int? {
        (try? everything())?.firstMatch(of: /lo \[([0-9, ]*)\]/)?.1.split(separator: ",").count
    }

    /// Starts a run that waits, and returns when its downloads are shaped.
    private func startShapedRun() throws -> Child {
        let before = hooks()
        let words = throttle("-d", "50k", "--mode", "shape") + sendingFirst("echo ready; read x; exit 3")
        let child = try lab.start(namespace.entry + words, input: .pipe)
        try child.waitForOutput("ready")
        guard poll(until: { hooks() > before }) else { throw HarnessError("downloads aren't shaped") }
        return child
    }

    /// How many programs and filters of ours loopback has.
    private func hooks() -> Int {
        (links() ?? 0) + ((try? everything())?.matches(of: /throttle_match/).count ?? 0)
    }

    @Test func `shaped run has a queue of its own and takes it along`() throws {
        let before = try everything()
        let child = try startShapedRun()
        let during = try everything()
        for part in ["thr-\(child.pid): ", "qdisc htb 7474: dev thr-\(child.pid)"] {
            #expect(during.contains(part), "\(part)")
        }
        #expect(links() == 1)
        child.closeInput()
        #expect(try child.wait().ending == .exited(3))
        #expect(poll { (try? everything()) == before })
    }

    @Test(arguments: [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
    func `several runs share a device and the last one leaves it as it was`(_ order: [Int]) throws {
        let before = try everything()
        let runs = try (0..<3).map { _ in try startShapedRun() }
        #expect(links() == 3)
        for number in order {
            runs[number].closeInput()
            #expect(try runs[number].wait().ending == .exited(3))
            let rest = number == order.last ? 0 : number == order[1] ? 1 : 2
            #expect(poll { (links() ?? 0) == rest })
        }
        #expect(poll { (try? everything()) == before })
    }

    @Test func `policed run touches no device`() throws {
        let before = try everything()
        let words = throttle("-d", "50k", "-u", "50k", "--mode", "police") + ["sh", "-c", "sleep 0.3"]
        let child = try lab.start(namespace.entry + words)
        while !child.hasEnded() { #expect(try everything() == before) }
        #expect(try child.wait().ending == .exited(0))
    }

    @Test func `killed run is guarded to the end of its command`() throws {
        let before = try everything()
        let child = try startShapedRun()
        let during = try everything()
        child.send(SIGKILL)
        usleep(300_000)
        #expect(try everything() == during && lab.cgroup.runs == ["throttle-\(child.pid)"])
        child.closeInput()
        #expect(try child.wait().ending == .killed(SIGKILL))
        #expect(poll { (try? everything()) == before && lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    @Test func `guard is a daemon that holds nothing of the callers`() throws {
        let child = try startShapedRun()
        let guards = lab.cgroup.processes.filter { $0 != child.pid }
        let pid = try #require(guards.first)
        #expect(guards.count == 1)
        #expect(getsid(pid) == pid)
        let folder = "/proc/\(pid)"
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/cwd") == "/")
        for descriptor in 0...2 {
            let target = try FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/fd/\(descriptor)")
            #expect(target == "/dev/null")
        }
        child.closeInput()
        #expect(try child.wait().ending == .exited(3))
        #expect(poll { lab.cgroup.processes.isEmpty })
    }

    /// Kills what runs in our cgroup itself, which no command of a run does, but for some.
    private func killGuards(but spared: [pid_t]) {
        for pid in lab.cgroup.processes where !spared.contains(pid) { kill(pid, SIGKILL) }
        #expect(poll { Set(lab.cgroup.processes).isSubset(of: spared) })
    }

    @Test(arguments: [false, true])
    func `killed guard costs the command nothing and is reported`(isFilter: Bool) throws {
        if isFilter { try lab.require(["tc", "-n", namespace.name, "qdisc", "add", "dev", "lo", "clsact"]) }
        let before = try everything()
        let child = try startShapedRun()
        killGuards(but: [child.pid])
        #expect(poll { (try? everything()) == before })
        #expect(lab.cgroup.runs == ["throttle-\(child.pid)"])
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(3) && completed.stderr.contains("the guard process was ended"))
        #expect(lab.cgroup.children == [])
    }

    /// Leaves a dead run in our namespace, whose command has ended; a filter leads to its queue. Returns its name.
    private func leaveDeadRun() throws -> String {
        let others = lab.cgroup.processes
        let child = try startShapedRun()
        child.send(SIGSTOP)
        killGuards(but: [child.pid] + others)
        child.send(SIGKILL)
        #expect(try child.wait().ending == .killed(SIGKILL))
        child.closeInput()
        let run = "\(lab.cgroup.path)/throttle-\(child.pid)"
        #expect(poll { TestCgroup.processes(of: "\(run)/run").isEmpty })
        #expect(try everything().contains("thr-\(child.pid): "))
        return "\(child.pid)"
    }

    @Test func `next run removes what a dead one left`() throws {
        try lab.require(["tc", "-n", namespace.name, "qdisc", "add", "dev", "lo", "clsact"])
        let id = try leaveDeadRun()
        #expect(try everything().contains("throttle_match"))
        let words = throttle("-d", "50k", "--mode", "shape", "--debug") + ["true"]
        let completed = try lab.start(namespace.entry + words).wait()
        #expect(completed.ending == .exited(0))
        for line in ["removed cgroup \(lab.cgroup.path)/throttle-\(id), left by", "removed device thr-\(id), left by"] {
            #expect(completed.stderr.contains(line), "\(line)")
        }
        #expect(poll { (try? everything())?.contains("thr") == false && lab.cgroup.children == [] })
    }

    @Test func `cleanup removes what dead runs left and nothing else`() throws {
        try lab.require(["tc", "-n", namespace.name, "qdisc", "add", "dev", "lo", "clsact"])
        let live = try startShapedRun()
        let before = try everything()
        let id = try leaveDeadRun()
        let during = try everything()
        let names = [
            "cgroup /sys/fs/cgroup/throttle-\(id)\n", "device thr-\(id)\n",
        ]
        let dry = try lab.start(namespace.entry + cleaningUp("--dry-run")).wait()
        for name in names { #expect(dry.stdout.contains("would remove \(name)"), "\(name)") }
        #expect(!dry.stdout.contains("\(live.pid)"))
        #expect(try everything() == during)
        // From another network namespace.
        let removed = try lab.start(cleaningUp()).wait()
        #expect(removed.ending == .exited(0) && removed.stderr == "")
        for name in names { #expect(removed.stdout.contains("removed \(name)"), "\(name)") }
        #expect(try everything() == before && lab.cgroup.runs == ["throttle-\(live.pid)"])
        live.closeInput()
        #expect(try live.wait().ending == .exited(3))
        let json = try lab.start(namespace.entry + cleaningUp("--json")).wait()
        #expect(json.stdout.hasPrefix(#"{"dry_run":false,"leftovers":["#) && !json.stdout.contains(id))
    }

    @Test func `cleanup frees processes of a dead run`() throws {
        for method in ["link", "legacy"] {
            let words = throttle("-d", "50k", "--attach", method) + ["sh", "-c", "echo ready; read x; exit 3"]
            let child = try lab.start(words, input: .pipe)
            try child.waitForOutput("ready")
            for pid in lab.cgroup.processes { kill(pid, SIGKILL) }
            _ = try child.wait()
            // The guard has the locks, too.
            #expect(poll { lab.cgroup.processes == [] })
            let command = TestCgroup.processes(of: "\(lab.cgroup.path)/throttle-\(child.pid)/run")
            #expect(command.count == 1)
            let removed = try lab.run(cleaningUp())
            #expect(removed.stdout.contains("/throttle-\(child.pid) (1 process in it)"))
            #expect(lab.cgroup.children == [] && lab.cgroup.processes == command)
            child.closeInput()
            #expect(poll { lab.cgroup.processes == [] })
        }
    }

    /// Kills throttle at random moments, from its start on: whatever it had done by then is undone.
    @Test func `kills at any moment leave nothing`() throws {
        let before = try everything()
        let storm = try Fixtures.storm.get()
        let script =
            #"mkdir -p /run/throttle && mount -t tmpfs -o mode=700 none /run/throttle && "$@" && for i in $(seq 50); do sleep 0.1; [ "$(ls /run/throttle)" ] || exit 0; done; exit 9"#
        let words = [storm, "150", "20000", "1", "9", throttlePath, "-d", "50k", "--", "sleep", "0.01"]
        let shell = ["unshare", "-m", "sh", "-ec", script, "sh"]
        let completed = try lab.start(namespace.entry + shell + words).wait()
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let lines = completed.stdout.split(separator: "\n")
        #expect(lines.count == 150 && lines.contains { $0.hasSuffix("killed 9") })
        #expect(poll { (try? everything()) == before && lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    /// Ten times a second each would keep a laptop awake.
    @Test func `guards of idle runs sleep`() throws {
        let group = "idle-\(getpid())-\(Lab.nextNumber())"
        let options = [["-d", "1M"], ["-u", "1M"], ["-d", "1M", "-g", group], ["-d", "1M", "--mode", "police"]]
        let runs = try options.map { options in
            try lab.start(namespace.entry + [throttlePath, "run"] + options + ["--", "sleep", "30"])
        }
        for run in runs {
            #expect(poll { (try? lab.run([throttlePath, "stats", "\(run.pid)"]).ending) == .exited(0) })
        }
        usleep(1_500_000)
        let guards = lab.cgroup.processes.filter { pid in !runs.contains { $0.pid == pid } }
        #expect(guards.count == runs.count)
        let before = guards.map(wakeUps)
        usleep(3_000_000)
        let counts = zip(guards, before).map { wakeUps($0) - $1 }
        #expect(counts.reduce(0, +) < 8, "\(counts)")
        for run in runs { run.send(SIGTERM) }
        for run in runs { #expect(try run.wait().ending == .killed(SIGTERM)) }
    }

    /// How often a process has slept.
    private func wakeUps(_ pid: pid_t) -> Int {
        let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        return status.firstMatch(of: /\nvoluntary_ctxt_switches:\s*([0-9]+)/).flatMap { Int($0.1) } ?? 0
    }

    private static let reapsNobody = #"""
        import os, sys, time
        child = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        time.sleep(1)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if pid != str(os.getpid()):
                print(open(f"/proc/{pid}/stat").read())
        """#

    /// As in containers whose first process is no init.
    @Test func `no guard is left where process one reaps nobody`() throws {
        let inside = ["unshare", "-fp", "--mount-proc", "python3", "-c", GuardTests.reapsNobody]
        for options in [["-d", "50k"], ["-u", "50k"], ["-d", "50k", "--mode", "police"]] {
            let words = [throttlePath, "run"] + options + ["--", "sh", "-c", "sleep 0.2; exit 3"]
            let said = try lab.require(namespace.entry + inside + words)
            #expect(said == "3\n", "\(said)")
        }
    }
}
