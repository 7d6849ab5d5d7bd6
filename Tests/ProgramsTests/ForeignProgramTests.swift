import CLibBPF
import CTestSupport
import Cgroups
import Kernel
import SystemPackage
import TestSupport
import Testing

@testable import Programs

extension KernelTests {
    @Suite struct ForeignProgramTests {
        private static let methods = [AttachMethod.link, .legacy]

        @Test(arguments: methods, ["", "/between/below"])
        func `an exclusive program here or above is in the way, and can be named`(
            method: AttachMethod, place: String
        ) throws {
            let group = try TestCgroup()
            try group.make("between/below")
            let above = try group.open()
            let cgroup = try CgroupDirectory(opening: group.path + place)
            let foreign = try ForeignProgram("somebody", on: above, .down, flags: 0)
            let programs = try ProgramSet()
            var attachments = Attachments(log: .silent)
            do throws(SystemError) {
                try attachments.attach(
                    Hook.meter(.down), of: programs, to: cgroup.descriptor, at: cgroup.path, by: method)
                Issue.record("attached below an exclusive program")
            } catch {
                #expect(error.errno == .notPermitted)
            }
            let found = AttachedProgram.all(on: above.descriptor, .ingress)
            #expect(found.map(\.id) == [foreign.id])
            #expect(found.map(\.name) == ["somebody"])
            #expect(found.map(\.mode) == [.exclusive])
            #expect(AttachedProgram.all(on: above.descriptor, .egress).isEmpty)
            try attachments.attach(
                Hook.meter(.up), of: programs, to: cgroup.descriptor, at: cgroup.path, by: method)
        }

        @Test(arguments: methods)
        func `a program above that may be overridden is, and its mode is told`(method: AttachMethod) throws {
            let group = try TestCgroup()
            try group.make("below")
            let above = try group.open()
            let below = try group.open("below")
            let foreign = try ForeignProgram("overridden", on: above, .up, flags: UInt32(BPF_F_ALLOW_OVERRIDE))
            let found = AttachedProgram.all(on: above.descriptor, .egress)
            #expect(found.map(\.id) == [foreign.id])
            #expect(found.map(\.mode) == [.override])
            let programs = try ProgramSet()
            var attachments = Attachments(log: .silent)
            try attachments.attach(Hook.meter(.up), of: programs, to: below.descriptor, at: below.path, by: method)
            #expect(AttachedProgram.all(on: below.descriptor, .egress).map(\.mode) == [.multi])
            #expect(AttachedProgram.all(on: above.descriptor, .egress).map(\.id) == [foreign.id])
        }

        @Test(arguments: methods)
        func `other programs in multi mode stay`(method: AttachMethod) throws {
            let group = try TestCgroup()
            let cgroup = try group.open()
            let multi = UInt32(BPF_F_ALLOW_MULTI)
            let first = try ForeignProgram("first", on: cgroup, .down, flags: multi)
            let second = try ForeignProgram("second", on: cgroup, .down, flags: multi)
            let programs = try ProgramSet()
            do {
                var attachments = Attachments(log: .silent)
                for hook in [Hook.witness(.down), .meter(.down)] {
                    try attachments.attach(
                        hook, of: programs, to: cgroup.descriptor, at: cgroup.path, by: method)
                }
                #expect(
                    AttachedProgram.all(on: cgroup.descriptor, .ingress).map(\.name)
                        == ["first", "second", "throttle_wit_dn", "throttle_down"])
            }
            #expect(AttachedProgram.all(on: cgroup.descriptor, .ingress).map(\.id) == [first.id, second.id])
        }

        @Test func `only programs on the cgroup itself are told of`() throws {
            let group = try TestCgroup()
            try group.make("below")
            let above = try group.open()
            let below = try group.open("below")
            let foreign = try ForeignProgram("above", on: above, .down, flags: UInt32(BPF_F_ALLOW_MULTI))
            #expect(AttachedProgram.all(on: above.descriptor, .ingress).map(\.id) == [foreign.id])
            #expect(AttachedProgram.all(on: below.descriptor, .ingress).isEmpty)
        }

        @Test func `a program's name is left out where it can't be read`() async {
            await #expect(processExitsWith: .success) {
                let group = try TestCgroup()
                let cgroup = try group.open()
                let foreign = try ForeignProgram("secret", on: cgroup, .down, flags: 0)
                try #require(test_keep_capabilities(~(1 << Capability.sysAdmin.rawValue)) == 0)
                let found = AttachedProgram.all(on: cgroup.descriptor, .ingress)
                #expect(found.map(\.id) == [foreign.id])
                #expect(found.map(\.name) == [nil])
            }
        }
    }
}
