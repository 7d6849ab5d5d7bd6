import Foundation
import Testing

/// What becomes of processes that outlive the command.
@Suite struct LingerTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private func run(_ linger: String, _ script: String, input: Child.Input = .null) throws -> Child {
        try lab.start(
            throttle("-d", "50k", "--linger", linger, "--stats=json", "--stats-file", "stats") + ["sh", "-c", script],
            input: input)
    }

    @Test func `kept processes stay limited to their end`() throws {
        let network = try NetworkPair(lab)
        let server = try FileServer(in: network.far, lab, bytes: 300_000)
        let script = #"curl -sS -o copy "$0" & exit 4"#
        let words = throttle("-d", "100k", "--stats=json") + ["sh", "-c", script, server.url(NetworkPair.farAddress)]
        let began = ContinuousClock.now
        let completed = try lab.start(network.near.entry + words).wait()
        #expect(completed.ending == .exited(4) && completed.seconds < 1.5)
        #expect(lab.cgroup.runs.count == 1)
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
        #expect((ContinuousClock.now - began) / .seconds(1) > 2.2)
        #expect(try lab.content("copy") == server.content)
    }

    @Test func `kept run is guarded through the next ones`() throws {
        let child = try run("keep", "exec 3<&0; { echo ready; read x <&3; echo done; } & exit 4", input: .pipe)
        try child.waitForOutput("ready")
        #expect(try child.wait().ending == .exited(4) && child.stderr == "")
        for _ in 0..<3 { try lab.require(throttle("-d", "50k") + ["true"]) }
        #expect(lab.cgroup.runs == ["throttle-\(child.pid)"])
        let stats = try lab.stats()
        #expect(stats.linger == "keep" && stats.left_behind == 1 && stats.warnings == [])
        child.closeInput()
        try child.waitForOutput("done")
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    @Test func `waited for processes delay the status`() throws {
        let child = try run("wait", "exec 3<&0; { echo ready; read x <&3; echo done; } & exit 4", input: .pipe)
        try child.waitForOutput("ready")
        usleep(200_000)
        #expect(!child.hasEnded())
        child.closeInput()
        #expect(try child.wait().ending == .exited(4))
        #expect(child.stdout == "ready\ndone\n" && lab.cgroup.children == [])
        #expect(try lab.stats().left_behind == 0)
    }

    @Test func `signal ends the waiting and reaches those waited for`() throws {
        let child = try run(
            "wait", #"sh -c 'trap "echo got; exit" TERM; echo ready; while :; do sleep 0.1; done' & exit 4"#)
        try child.waitForOutput("ready")
        usleep(200_000)
        child.send(SIGTERM)
        #expect(try child.wait().ending == .exited(4))
        try child.waitForOutput("got")
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    @Test func `killed processes are gone`() throws {
        let script = "sleep 61 & setsid sh -c 'trap : TERM HUP INT; echo ready; sleep 62' & read x; exit 4"
        let child = try run("kill", script, input: .pipe)
        try child.waitForOutput("ready")
        child.closeInput()
        #expect(try child.wait().ending == .exited(4))
        #expect(lab.cgroup.children == [])
        let stats = try lab.stats()
        #expect(stats.linger == "kill" && stats.left_behind >= 2)
    }
}
