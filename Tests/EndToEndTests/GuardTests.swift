import Foundation
import Testing

/// What a run sets up on devices, and that it goes however the run ends.
@Suite struct GuardTests {
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
        let words = throttle("-d", "50k", "--mode", "shape") + ["sh", "-c", "echo ready; read x; exit 3"]
        let child = try lab.start(namespace.entry + words, input: .pipe)
        try child.waitForOutput("ready")
        return child
    }

    @Test func shapedRunHasAQueueOfItsOwnAndTakesItAlong() throws {
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
    func severalRunsShareADeviceAndTheLastOneLeavesItAsItWas(_ order: [Int]) throws {
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

    @Test func policedRunTouchesNoDevice() throws {
        let before = try everything()
        let words = throttle("-d", "50k", "-u", "50k", "--mode", "police") + ["sh", "-c", "sleep 0.3"]
        let child = try lab.start(namespace.entry + words)
        while !child.hasEnded() { #expect(try everything() == before) }
        #expect(try child.wait().ending == .exited(0))
    }

    @Test func killedRunIsGuardedToTheEndOfItsCommand() throws {
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

    @Test func guardIsADaemonThatHoldsNothingOfTheCallers() throws {
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

    @Test func killedGuardCostsTheCommandNothingAndIsReported() throws {
        let child = try startShapedRun()
        for pid in lab.cgroup.processes where pid != child.pid { kill(pid, SIGKILL) }
        #expect(poll { lab.cgroup.processes == [child.pid] })
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(3) && completed.stderr.contains("the guard process was ended"))
        #expect(lab.cgroup.children == [])
    }
}
