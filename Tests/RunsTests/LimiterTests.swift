import CKernel
import CLibBPF
import Cgroups
import Glibc
import Kernel
import Logging
import Processes
import Programs
import TestSupport
import Testing
import Units

@testable import Runs

private func plan(in path: String, mode: Mode = .auto, attach: AttachChoice = .auto) -> RunPlan {
    var plan = RunPlan()
    (plan.cgroupParent, plan.mode, plan.attach) = (path, mode, attach)
    plan.rates.down = .bytesPerSecond(50_000)
    return plan
}

/// Moves the calling thread into a network namespace with nothing but loopback, for a guard to put its queue into.
private func enterNamespace() throws {
    try #require(kernel_make_network() == 0)
}

extension Limiter {
    /// What a report says that holds the limits.
    fileprivate var planes: Set<Plane> {
        report(RunPlan().subject(Command(lastWords: 1))).planes
    }
}

/// Each in a process of its own, as these load programs and libbpf's log is one for the process.
@Suite struct LimiterTests {
    @Test func `a limiter sets everything up and its scope undoes it in reverse`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let group = try TestCgroup()
            try group.make("throttle-1/run")
            let lines = Lines()
            do {
                let limiter = try Limiter(plan(in: group.path, mode: .shape), Command(lastWords: 1), log: lines.log)
                let planes = limiter.planes
                #expect(planes == [.police, .shape, .window])
                let name = "throttle-\(limiter.id)"
                let (method, hasWitness) = (limiter.method, limiter.memory.hasWitness)
                #expect(method == .link)
                #expect(hasWitness)
                #expect(limiter.memory.counters(.down).witnessPackets == 0)
                #expect(group.tree == [name, "\(name)/run"])
                let parent = try group.open(name)
                let run = try group.open(name + "/run")
                for (direction, meter, witness) in [
                    (Direction.down, "throttle_down", "throttle_wit_dn"), (.up, "throttle_up", "throttle_wit_up"),
                ] {
                    #expect(
                        AttachedProgram.all(on: run.descriptor, Hook.meter(direction).attachType).map(\.name) == [meter]
                    )
                    #expect(
                        AttachedProgram.all(on: parent.descriptor, Hook.meter(direction).attachType).map(\.name) == [
                            witness
                        ])
                }
                let (left, _) = limiter.end(.keep)
                #expect(left == 0)
            }
            #expect(group.tree.isEmpty)
            let subjects = lines.all.map { $0.split(separator: " ").dropFirst().prefix(2).joined(separator: " ") }
            #expect(
                subjects == [
                    "kernel \(Host.kernelRelease)", "removed cgroup", "loaded the", "created cgroup",
                    "attached throttle_wit_dn,", "attached throttle_wit_up,", "attached throttle_down,",
                    "attached throttle_up,", "attached throttle_sock,", "attached throttle_calls,",
                    "attached throttle_tcp,",
                    // What the guard says.
                    "created device", "mode shape:", "removed device", "detached throttle_tcp",
                    "detached throttle_calls", "detached throttle_sock", "detached throttle_up",
                    "detached throttle_down", "detached throttle_wit_up", "detached throttle_wit_dn", "removed cgroup",
                ])
        }
    }

    @Test(arguments: [Mode.auto, .police])
    func `before there are packets no device is touched, and to police never`(mode: Mode) async {
        await #expect(processExitsWith: .success) { [name = mode.rawValue as String] in
            let mode = try #require(Mode(rawValue: name))
            try enterNamespace()
            let group = try TestCgroup()
            let lines = Lines()
            do {
                let limiter = try Limiter(plan(in: group.path, mode: mode), Command(lastWords: 1), log: lines.log)
                let (planes, obstacle) = (limiter.planes, limiter.memory.obstacle)
                #expect(planes == [.police, .window])
                #expect(obstacle == nil)
                let run = try group.open("throttle-\(limiter.id)/run")
                #expect(
                    AttachedProgram.all(on: run.descriptor, .sockops).map(\.name) == ["throttle_calls", "throttle_tcp"])
                _ = limiter.end(.keep)
            }
            #expect(!lines.all.contains { $0.contains("device") || $0.contains("qdisc") || $0.contains("shape") })
            #expect(lines.all.contains("info: mode \(mode): window police (attached by link)"))
        }
    }

    @Test func `without any limit there are no planes, but all that a later one needs`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let group = try TestCgroup()
            let lines = Lines()
            var plan = plan(in: group.path)
            plan.rates.down = .unlimited
            do {
                let limiter = try Limiter(plan, Command(lastWords: 1), log: lines.log)
                let (planes, isGuarded) = (limiter.planes, limiter.guardProcess != nil)
                #expect(planes.isEmpty && isGuarded)
                _ = limiter.end(.keep)
            }
            #expect(lines.all.filter { $0.contains(" attached ") }.count == 7)
            #expect(lines.all.filter { $0.contains(" detached ") }.count == 7)
        }
    }

    @Test func `where there can be no queue, shape fails`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let group = try TestCgroup()
            let lines = Lines()
            var plan = plan(in: group.path, mode: .shape)
            try #require(system("ip link add thr-\(getpid()) type bridge") == 0)
            plan.rates.up = .bytesPerSecond(1000)
            let error = #expect(throws: SetupError.self) {
                _ = try Limiter(plan, Command(lastWords: 1), log: lines.log)
            }
            #expect(error?.description.hasPrefix("can't shape downloads: can't create device thr-") == true)
            #expect(group.tree.isEmpty)
            #expect(lines.all.filter { $0.contains(" attached ") }.count == 7)
            #expect(lines.all.filter { $0.contains(" detached ") }.count == 7)
        }
    }

    @Test func `the legacy call is used where it is asked for`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let group = try TestCgroup()
            let lines = Lines()
            do {
                let limiter = try Limiter(plan(in: group.path, attach: .legacy), Command(lastWords: 1), log: lines.log)
                let method = limiter.method
                #expect(method == .legacy)
            }
            #expect(lines.all.filter { $0.hasSuffix("method legacy") }.count == 7)
            #expect(lines.all.filter { $0.contains("detached ") && $0.contains(" (cgroup_") }.count == 7)
            #expect(group.tree.isEmpty)
        }
    }

    @Test func `processes left in the run's cgroup are moved out and counted`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let group = try TestCgroup()
            let limiter = try Limiter(plan(in: group.path), Command(lastWords: 1), log: Lines().log)
            let process = try Sleeper(in: "\(group.path)/throttle-\(limiter.id)/run")
            let (left, fate) = limiter.end(.release)
            #expect(left == 1 && fate == .release)
            #expect(try process.cgroup.hasSuffix(group.path.split(separator: "/").suffix(1).joined() + "\n"))
            #expect(group.tree.isEmpty)
        }
    }

    @Test func `a failure on the way leaves nothing behind`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let group = try TestCgroup()
            _ = try ForeignProgram("somebody", on: try group.open(), .up)
            let error = #expect(throws: SetupError.self) {
                _ = try Limiter(plan(in: group.path), Command(lastWords: 1), log: Lines().log)
            }
            #expect(error?.description.contains("(somebody) is attached to \(group.path) in mode exclusive") == true)
            #expect(group.tree.isEmpty)
        }
    }

    @Test func `a program that the run's stand in for is warned of`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let group = try TestCgroup()
            let foreign = try ForeignProgram(
                "watcher", on: try group.open(), .down, flags: UInt32(BPF_F_ALLOW_OVERRIDE))
            let lines = Lines()
            _ = try Limiter(plan(in: group.path), Command(lastWords: 1), log: lines.log)
            let warnings = lines.all.filter { $0.hasPrefix("warning: ") }
            #expect(warnings.count == 1)
            #expect(
                warnings.first?.hasPrefix("warning: program \(foreign.id) (watcher) on \(group.path) does not") == true)
        }
    }

    @Test(arguments: ["/tmp", "/no/such/cgroup"])
    func `a parent that is no cgroup is refused`(path: String) {
        let error = #expect(throws: SetupError.self) {
            _ = try Limiter(plan(in: path), Command(lastWords: 1), log: Lines().log)
        }
        #expect(error?.description.contains(path) == true)
    }
}
