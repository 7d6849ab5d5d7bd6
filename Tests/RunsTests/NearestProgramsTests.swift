import CLibBPF
import Cgroups
import Kernel
import Programs
import SystemPackage
import TestSupport
import Testing

@testable import Runs

@Suite struct NearestProgramsTests {
    private let refused = SystemError("attach", "throttle_down", errno: .notPermitted)

    @Test func `an exclusive program above is named with its id, name, cgroup and mode`() throws {
        let group = try TestCgroup()
        try group.make("between/base")
        let foreign = try ForeignProgram("somebody", on: try group.open(), .down)
        let cgroup = try RunCgroup(in: try group.open("between/base"), log: .silent)
        #expect(
            explain(refused, cgroup, .ingress).description.hasPrefix(
                "can't attach throttle_down: Operation not permitted; program \(foreign.id) (somebody) is attached to"
                    + " \(group.path) in mode exclusive (no BPF_F_ALLOW_MULTI)"))
        #expect(explain(refused, cgroup, .egress).description.contains("out of sight from here"))
    }

    @Test func `the nearest programs above decide`() throws {
        let group = try TestCgroup()
        try group.make("base")
        _ = try ForeignProgram("far", on: try group.open(), .up, flags: UInt32(BPF_F_ALLOW_MULTI))
        let near = try ForeignProgram("near", on: try group.open("base"), .up, flags: UInt32(BPF_F_ALLOW_MULTI))
        let cgroup = try RunCgroup(in: try group.open("base"), log: .silent)
        let found = nearestPrograms(above: cgroup, .egress)
        #expect(found.map(\.path) == [group.path + "/base"])
        #expect(found.map(\.1.id) == [near.id])
        #expect(found.map(\.1.mode) == [.multi])
        #expect(explain(refused, cgroup, .egress).description.contains("out of sight from here"))
    }

    @Test func `other errors are not blamed on programs`() throws {
        let group = try TestCgroup()
        _ = try ForeignProgram("somebody", on: try group.open(), .down)
        let cgroup = try RunCgroup(in: try group.open(), log: .silent)
        let error = SystemError("attach", "throttle_down", errno: .argListTooLong)
        #expect(explain(error, cgroup, .ingress).description == "can't attach throttle_down: Argument list too long")
    }
}
