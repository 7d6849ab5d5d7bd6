import Foundation
import Testing

/// The programs of a run as bpftool sees them, beside those of others.
@Suite struct AttachmentTests {
    let lab: Lab
    let bpftool: BPFTool

    init() throws {
        lab = try Lab()
        bpftool = BPFTool(lab: lab)
    }

    /// A run whose command waits until its input is closed.
    private func startWaitingRun(_ options: [String]) throws -> (child: Child, cgroup: String) {
        let words = [throttlePath, "run", "-d", "50k"] + options + ["--", "sh", "-c", "echo ready; read x; exit 0"]
        let child = try lab.start(words, input: .pipe)
        try child.waitForOutput("ready")
        return (child, "\(lab.cgroup.path)/throttle-\(child.pid)")
    }

    @Test(arguments: ["auto", "link", "legacy"])
    func `programs are in multi mode on the run and on its parent`(_ method: String) throws {
        let (child, cgroup) = try startWaitingRun(["--attach", method])
        // The last one comes from the guard, while the command runs already.
        #expect(poll { (try? bpftool.attachments("\(cgroup)/run").count) == 5 })
        let run = try bpftool.attachments("\(cgroup)/run")
        let parent = try bpftool.attachments(cgroup)
        for (attachments, expected) in [
            (
                run,
                [
                    "throttle_down": "ingress", "throttle_up": "egress", "throttle_sock": "create",
                    "throttle_calls": "ops", "throttle_tcp": "ops",
                ]
            ),
            (parent, ["throttle_wit_dn": "ingress", "throttle_wit_up": "egress"]),
        ] {
            let found = attachments.map { ($0.name, $0.direction) }
            #expect(Dictionary(found) { first, _ in first } == expected && found.count == expected.count)
            #expect(attachments.allSatisfy { $0.attach_flags == "multi" })
        }
        // Nothing above: the caller's own cgroup is left alone.
        #expect(try bpftool.attachments(lab.cgroup.path) == [])
        let ids = Set((run + parent).map(\.id))
        #expect(try ids.isSubset(of: bpftool.throttlePrograms()))
        child.closeInput()
        #expect(try child.wait().ending == .exited(0))
        #expect(lab.cgroup.runs == [])
        #expect(bpftool.areFreed(ids))
    }

    @Test(arguments: ["link", "legacy"])
    func `command is inside the runs cgroup from its start`(_ method: String) throws {
        let words = throttle("-d", "50k", "--attach", method) + ["cat", "/proc/self/cgroup"]
        let completed = try lab.run(words)
        let path = try #require(completed.stdout.split(separator: "\n").last { $0.hasPrefix("0::") })
        #expect(path.contains("/commands/throttle-") && path.hasSuffix("/run"))
    }

    @Test(arguments: ["link", "legacy"])
    func `nothing is left after hundreds of runs that ended in every way`(_ method: String) throws {
        let before = try bpftool.throttlePrograms()
        let options = throttle("-d", "50k", "--attach", method)
        let storm = try Fixtures.storm.get()
        let seed = String(UInt64.random(in: 1...UInt64.max))
        // By return, at exec, by each signal of the wrapper's, by signals of the command's own.
        try lab.require([storm, "40", "1", seed, "0"] + options + ["true"])
        try lab.require([storm, "40", "1", seed, "0"] + options + ["sh", "-c", "exit 9"])
        try lab.require([storm, "40", "1", seed, "0"] + options + ["no-such-command-here"])
        try lab.require([storm, "40", "1", seed, "0"] + options + ["sh", "-c", "kill -SEGV $$"])
        try lab.require([storm, "140", "25000", seed, "1,2,3,10,12,14,15"] + options + ["sleep", "60"])
        #expect(lab.cgroup.runs == [])
        // Killed, a run can't undo anything: its guard does.
        try lab.require([storm, "60", "25000", seed, "9"] + options + ["sleep", "0.1"])
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
        #expect(try bpftool.attachments(lab.cgroup.path) == [])
        #expect(try bpftool.areFreed(bpftool.throttlePrograms().subtracting(before)))
    }

    @Test(arguments: ["link", "legacy"])
    func `foreign program in multi mode stays attached and runs`(_ method: String) throws {
        let network = try NetworkPair(lab)
        let server = try FileServer(in: network.far, lab, bytes: 100_000)
        let id = try bpftool.attachForeignProgram(to: lab.cgroup.path, mode: "multi")
        let fetching = ["curl", "-sSf", "-o", "copy", server.url(NetworkPair.farAddress)]
        let completed = try lab.run(
            network.near.entry + throttle("-d", "200k", "--attach", method, "--stats=json") + fetching)
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        let stats = try Stats(completed.stderr)
        #expect(stats.download.program_calls > 0)
        // It runs on every packet, and goes on when the run is over: the connection's last ones may come later.
        #expect(try bpftool.packets(countedBy: id) >= stats.download.program_calls)
        #expect(try bpftool.attachments(lab.cgroup.path).map(\.id) == [id])
    }

    /// strace(1) has the kernel say so, as a cgroup that was made just now has no programs.
    @Test func `full parent costs the witness and that is reported`() throws {
        let words = throttle("-d", "50k", "--stats=json", "--stats-file", "stats")
        let tracing = ["strace", "-D", "-qq", "-o", "\(lab.folder)/trace", "-e", "trace=bpf"]
        try lab.require(tracing + words + ["true"])
        let calls = try String(decoding: lab.content("trace"), as: UTF8.self).split(separator: "\n")
        // It is what is attached first.
        let number =
            try #require(calls.firstIndex { $0.hasPrefix("bpf(BPF_LINK_CREATE, {") && $0.contains("INET") }) + 1
        let failing = tracing + ["-e", "inject=bpf:error=E2BIG:when=\(number)"]
        let child = try lab.start(failing + words + ["sh", "-c", "echo ready; read x"], input: .pipe)
        try child.waitForOutput("ready")
        #expect(child.stderr.contains("has 64 programs already: going on without the witness"))
        let asking = [throttlePath, "stats", "\(child.pid)", "--json"]
        #expect(poll { (try? lab.require(asking)) != nil })
        let during = try Stats(lab.require(asking))
        child.closeInput()
        _ = try child.wait()
        for stats in try [during, lab.stats()] {
            for traffic in [stats.download, stats.upload] {
                #expect(traffic.witness_packets == nil && traffic.witness_bytes == nil)
            }
        }
    }

    @Test(arguments: ["auto", "link", "legacy"])
    func `exclusive foreign program is named`(_ method: String) throws {
        let id = try bpftool.attachForeignProgram(to: lab.cgroup.path, mode: nil)
        let completed = try lab.run(throttle("-d", "50k", "--attach", method) + ["touch", "ran"])
        #expect(completed.ending == .exited(125) && completed.stdout == "")
        #expect(completed.stderr.contains("program \(id) (foreign_in)"))
        #expect(completed.stderr.contains(lab.cgroup.path) && completed.stderr.contains("exclusive"))
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(lab.cgroup.runs == [])
        #expect(try bpftool.attachments(lab.cgroup.path).map(\.id) == [id])
    }

    @Test func `exclusive program further up is named with its cgroup`() throws {
        let above = try TestCgroup("above", in: lab.cgroup.path)
        let caller = try TestCgroup("caller", in: above.path)
        let id = try bpftool.attachForeignProgram(to: above.path, mode: nil)
        let completed = try lab.start(throttle("-d", "50k") + ["true"], in: caller).wait()
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr.contains("program \(id) (foreign_in)"))
        #expect(completed.stderr.contains(" \(above.path) "))
        #expect(caller.runs == [])
    }

    /// With --debug, and inside a run, throttle waits for its guard.
    @Test func `failure is told also where the guard is waited for`() throws {
        let limits = throttle("-d", "50k")
        let above = try TestCgroup("above", in: lab.cgroup.path)
        _ = try bpftool.attachForeignProgram(to: above.path, mode: nil)
        let completed = try lab.start(throttle("-d", "50k", "--debug") + ["true"], in: above).wait()
        #expect(completed.ending == .exited(125) && completed.stderr.contains("exclusive"))
        let nested = try lab.run(limits + limits + ["sh", "-c", "exit 3"])
        #expect(nested.ending == .exited(3))
        let failing = try lab.run(limits + throttle("-d", "50k", "--cgroup-parent", above.path) + ["true"])
        #expect(failing.ending == .exited(125) && failing.stderr.contains("exclusive"))
        #expect(poll { lab.cgroup.children == ["above"] && above.children == [] && lab.cgroup.processes == [] })
    }

    @Test func `best effort runs the command under an exclusive program`() throws {
        let id = try bpftool.attachForeignProgram(to: lab.cgroup.path, mode: nil)
        let options = throttle("-d", "50k", "--best-effort", "--stats-file", "stats", "--stats=json")
        let completed = try lab.run(options + ["sh", "-c", "echo out; exit 6"])
        #expect(completed.ending == .exited(6) && completed.stdout == "out\n")
        #expect(completed.stderr.contains("NOT THROTTLED") && completed.stderr.contains("program \(id)"))
        #expect(completed.stderr.split(separator: "\n").count == 1)
        let stats = try lab.stats()
        #expect(stats.not_throttled && stats.download.verdict == "not_throttled" && stats.exit_status == 6)
        #expect(lab.cgroup.runs == [])
    }

    @Test(arguments: ["link", "legacy"])
    func `overridden foreign program gives a warning`(_ method: String) throws {
        let id = try bpftool.attachForeignProgram(to: lab.cgroup.path, mode: "override")
        let completed = try lab.run(throttle("-d", "50k", "--attach", method) + ["sh", "-c", "exit 6"])
        #expect(completed.ending == .exited(6))
        #expect(completed.stderr.contains("program \(id) (foreign_in)") && completed.stderr.contains(lab.cgroup.path))
        #expect(completed.stderr.contains("OVERRIDE"))
        #expect(completed.stderr.split(separator: "\n").count == 1)
        let quiet = try lab.run(throttle("-d", "50k", "-q", "--attach", method) + ["true"])
        #expect(quiet.ending == .exited(0) && quiet.stderr == "")
        #expect(try bpftool.attachments(lab.cgroup.path).map(\.id) == [id])
    }
}
