import Foundation
import Testing

/// What `throttle doctor` says of systems that can and can't limit, and that it leaves them as they were.
@Suite struct DoctorTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private struct Diagnosis: Decodable {
        struct Finding: Decodable {
            let area: String
            let level: String
            let text: String
            let advice: String?
        }
        struct Program: Decodable {
            let cgroup: String
            let type: String
            let id: Int
            let name: String?
            let mode: String
            let effect: String
        }
        struct Leftover: Decodable {
            let kind: String
            let name: String
        }
        let schema: Int
        let verdict: String
        let findings: [Finding]
        let programs: [Program]
        let leftovers: [Leftover]

        init(_ completed: Completed) throws {
            self = try JSONDecoder().decode(Diagnosis.self, from: Data(completed.stdout.utf8))
            #expect(completed.stderr == "" && schema == 1)
            #expect(completed.ending == .exited(["ready": 0, "degraded": 1][verdict] ?? 2))
        }

        /// Levels of an area's findings.
        func levels(_ area: String) -> [String] { findings.filter { $0.area == area }.map(\.level) }

        /// Of findings that aren't well, but for a rate that a busy machine got wrong.
        var complaints: [Finding] {
            findings.filter { ["degraded", "broken"].contains($0.level) && $0.area != "self-test" }
        }
    }

    /// Words that run what follows as if our cgroup and its records were all there is, as other tests have dead runs, and
    /// to look for these takes their locks. Then waits until the records are gone.
    private let isolated = [
        "unshare", "-mC", "sh", "-ec",
        #"""
        mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup && mkdir -p /run/throttle &&
        mount -t tmpfs -o mode=700 none /run/throttle && "$@" && status=0 || status=$?
        for i in $(seq 50); do [ "$(ls /run/throttle)" ] || exit $status; sleep 0.1; done; exit 99
        """#,
        "sh",
    ]

    private func expectNothingLeft() {
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    @Test func `root finds nothing to complain about and a device is not touched`() throws {
        let namespace = try Namespace(lab)
        let watch = "ip -o link; tc qdisc; tc filter show dev lo ingress"
        let before = try lab.require(namespace.entry + ["sh", "-c", watch])
        let monitor = try lab.start(namespace.entry + ["ip", "monitor", "link"], in: lab.helpers)
        let (completed, made) = try lab.watchingForCgroups {
            try lab.start(namespace.entry + isolated + [throttlePath, "doctor", "--json"]).wait()
        }
        expectNothingLeft()
        let diagnosis = try Diagnosis(completed)
        #expect(diagnosis.complaints.isEmpty, "\(completed.stdout)")
        #expect(diagnosis.programs.isEmpty && diagnosis.leftovers.isEmpty)
        let areas = ["kernel", "capabilities", "cgroup", "delegation", "programs", "BPF", "attach", "ingress", "queue"]
        for area in areas { #expect(diagnosis.levels(area).contains("ok"), "\(area)") }
        let transfer = try #require(diagnosis.findings.first { $0.area == "self-test" })
        #expect(transfer.text.contains("held by pace police shape window"))
        // Each by the same name.
        #expect(Set(made).count == 1)
        #expect(try lab.require(namespace.entry + ["sh", "-c", watch]) == before && monitor.stdout == "")
    }

    @Test func `text says the same for people`() throws {
        let completed = try lab.run(isolated + [throttlePath, "doctor"])
        let lines = completed.stdout.split(separator: "\n")
        #expect(lines.first?.hasPrefix("ok  kernel        Linux ") == true)
        #expect(["ready", "degraded"].contains { lines.last?.hasPrefix("\($0): throttle works here") == true })
        #expect(completed.stderr == "")
        #expect([.exited(0), .exited(1)].contains(completed.ending))
    }

    @Test func `without capabilities it says what to do`() throws {
        let binary = try lab.copyOfBinary()
        let completed = try lab.run(isolated + Lab.nobody + [binary, "doctor"])
        #expect(completed.ending == .exited(2))
        #expect(
            completed.stdout.contains("!!  capabilities  missing capabilities cap_bpf, cap_net_admin, cap_perfmon\n"))
        #expect(completed.stdout.contains("sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep \(binary)"))
        #expect(completed.stdout.contains("!!  delegation    can't create a cgroup in /sys/fs/cgroup: Permission"))
        #expect(completed.stdout.contains("delegated"))
        let diagnosis = try Diagnosis(try lab.run(isolated + Lab.nobody + [binary, "doctor", "--json"]))
        #expect(diagnosis.levels("capabilities") == ["broken"] && diagnosis.levels("BPF") == [])
    }

    @Test func `file capabilities in a delegated cgroup work without touching a device`() throws {
        try lab.require(["chown", "65534", lab.cgroup.path, "\(lab.cgroup.path)/cgroup.procs"])
        let binary = try lab.copyOfBinary(capabilities: "cap_bpf,cap_net_admin,cap_perfmon+ep")
        let namespace = try Namespace(lab)
        let monitor = try lab.start(namespace.entry + ["ip", "monitor", "link"], in: lab.helpers)
        let completed = try lab.start(namespace.entry + isolated + Lab.nobody + [binary, "doctor", "--json"]).wait()
        expectNothingLeft()
        let diagnosis = try Diagnosis(completed)
        #expect(diagnosis.complaints.isEmpty, "\(completed.stdout)")
        #expect(diagnosis.findings.first { $0.area == "queue" }?.advice == "sudo throttle doctor")
        #expect(diagnosis.findings.last?.text.contains("held by pace police window") == true)
        #expect(monitor.stdout == "")
    }

    @Test func `without a mount of cgroups root works and others do not`() throws {
        let hide = isolated + ["sh", "-ec", #"umount -R -l /sys/fs/cgroup; exec "$@""#, "sh"]
        let root = try Diagnosis(try lab.run(hide + [throttlePath, "doctor", "--json"]))
        #expect(root.levels("cgroup") == ["info"] && root.levels("delegation") == ["ok"])
        #expect(root.complaints.isEmpty && root.levels("self-test") != [])
        let binary = try lab.copyOfBinary(capabilities: "cap_bpf,cap_net_admin,cap_perfmon+ep")
        let other = try Diagnosis(try lab.run(hide + Lab.nobody + [binary, "doctor", "--json"]))
        #expect(other.levels("cgroup") == ["broken"])
        #expect(other.findings.first { $0.area == "cgroup" }?.advice?.contains("mount -t cgroup2") == true)
        expectNothingLeft()
    }

    @Test func `exclusive program is flagged and breaks it`() throws {
        let caller = try TestCgroup("caller", in: lab.cgroup.path)
        let id = try BPFTool(lab: lab).attachForeignProgram(to: lab.cgroup.path, mode: nil)
        let enter = ["sh", "-ec", #"echo 0 >/sys/fs/cgroup/caller/cgroup.procs; exec "$@""#, "sh"]
        let completed = try lab.run(isolated + enter + [throttlePath, "doctor"])
        #expect(completed.ending == .exited(2))
        let flag = "program \(id) (foreign_in) on /sys/fs/cgroup: cgroup_inet_ingress, exclusive: would stop us"
        #expect(completed.stdout.contains("!!  programs      \(flag)\n"))
        #expect(completed.stdout.contains("!!  attach        can't attach throttle_"))
        #expect(completed.stdout.contains("-> have its owner attach it with BPF_F_ALLOW_MULTI"))
        // What the kernel has is told all the same.
        #expect(completed.stdout.contains("ok  queue         IFB and HTB"))
        #expect(caller.runs == [])
        #expect(try BPFTool(lab: lab).attachments(lab.cgroup.path).map(\.id) == [id])
    }

    @Test(arguments: [("override", "degraded", "passed_over"), ("multi", "info", "none")])
    func `other programs are listed`(_ mode: String, _ level: String, _ effect: String) throws {
        let id = try BPFTool(lab: lab).attachForeignProgram(to: lab.cgroup.path, mode: mode)
        let diagnosis = try Diagnosis(try lab.run(isolated + [throttlePath, "doctor", "--json"]))
        let program = try #require(diagnosis.programs.first)
        #expect(diagnosis.programs.count == 1 && program.id == id && program.name == "foreign_in")
        #expect(program.mode == mode && program.effect == effect && program.cgroup == "/sys/fs/cgroup")
        #expect(diagnosis.levels("programs") == [level])
    }

    @Test func `leftovers are told and left alone`() throws {
        let child = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 3"], input: .pipe)
        try child.waitForOutput("ready")
        child.send(SIGSTOP)
        // Its guard, too, which has the locks.
        for pid in lab.cgroup.processes { kill(pid, SIGKILL) }
        #expect(try child.wait().ending == .killed(SIGKILL))
        child.closeInput()
        let run = "throttle-\(child.pid)"
        #expect(
            poll { lab.cgroup.processes == [] && TestCgroup.processes(of: "\(lab.cgroup.path)/\(run)/run").isEmpty })
        // Processes are gone from there before their locks are.
        #expect(poll { (try? lab.run(["flock", "-n", "\(lab.cgroup.path)/\(run)", "true"]).ending) == .exited(0) })
        for _ in 1...2 {
            let diagnosis = try Diagnosis(try lab.run(isolated + [throttlePath, "doctor", "--json"]))
            #expect(diagnosis.verdict == "degraded" || diagnosis.levels("self-test") == ["broken"])
            #expect(diagnosis.leftovers.map(\.name) == ["/sys/fs/cgroup/\(run)"])
            #expect(diagnosis.complaints.map(\.advice) == ["throttle cleanup"])
        }
        #expect(lab.cgroup.runs == [run])
    }

    @Test func `inside a run it does not test itself`() throws {
        let words =
            isolated + throttle("-d", "10k") + [throttlePath, "doctor", "--json"]
        let diagnosis = try Diagnosis(try lab.run(words))
        #expect(diagnosis.levels("self-test") == ["info"] && diagnosis.levels("attach") == ["ok"])
    }

    /// Interrupted and killed at random moments, it leaves nothing, and its status is the signal's.
    @Test func `nothing stays however it ends`() throws {
        let storm = try Fixtures.storm.get()
        let words = [storm, "16", "1600000", "7", "2,15,9,9", throttlePath, "doctor"]
        let completed = try lab.run(isolated + words)
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let ends = completed.stdout.split(separator: "\n").filter { $0.contains(" killed ") }
        #expect(ends.count >= 8)
        for end in ends {
            let fields = end.split(separator: " ")
            #expect(fields.first == fields.last, "\(end)")
        }
        expectNothingLeft()
    }

    @Test(arguments: ["doctor --jsn", "doctor extra", "doctor --json=1"])
    func `wrong usage gives 125`(_ words: String) throws {
        let completed = try lab.run([throttlePath] + words.split(separator: " ").map(String.init))
        #expect(completed.ending == .exited(125) && completed.stdout == "")
        #expect(completed.stderr.hasSuffix("(see throttle doctor --help)\n"))
    }
}
