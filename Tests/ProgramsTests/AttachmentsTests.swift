import CLibBPF
import Cgroups
import Kernel
import SystemPackage
import TestSupport
import Testing

@testable import Programs

/// What Attachments logged.
extension KernelTests {
    @Suite struct AttachmentsTests {
        private static let methods = [AttachMethod.link, .legacy]
        private struct Interruption: Error {}

        @Test(arguments: methods, kernels)
        func `programs are attached in multi mode for as long as their scope`(
            method: AttachMethod, kernel: KernelVersion
        ) throws {
            let group = try TestCgroup()
            let cgroup = try group.open()
            let programs = try ProgramSet(for: kernel)
            do {
                var attachments = Attachments(log: .silent)
                for direction in Direction.allCases {
                    let hook = Hook.meter(direction)
                    try attachments.attach(hook, of: programs, to: cgroup.descriptor, at: group.path, by: method)
                    let attached = AttachedProgram.all(on: cgroup.descriptor, Hook.meter(direction).attachType)
                    #expect(attached.map(\.name) == [hook.programName])
                    #expect(attached.map(\.id) == [try information(programs.descriptor(of: hook)).id])
                    #expect(attached.map(\.mode) == [.multi])
                }
            }
            for direction in Direction.allCases {
                #expect(AttachedProgram.all(on: cgroup.descriptor, Hook.meter(direction).attachType).isEmpty)
            }
        }

        @Test(arguments: methods)
        func `an error on the way detaches what was attached`(method: AttachMethod) throws {
            let group = try TestCgroup()
            let cgroup = try group.open()
            let programs = try ProgramSet()
            #expect(throws: Interruption.self) {
                let cgroup = try group.open()
                var attachments = Attachments(log: .silent)
                try attachments.attach(
                    Hook.meter(.up), of: programs, to: cgroup.descriptor, at: group.path, by: method)
                #expect(AttachedProgram.all(on: cgroup.descriptor, .egress).count == 1)
                throw Interruption()
            }
            #expect(AttachedProgram.all(on: cgroup.descriptor, .egress).isEmpty)
        }

        @Test(arguments: methods)
        func `each attachment and detachment is logged, the last made first undone`(method: AttachMethod) throws {
            let group = try TestCgroup()
            let cgroup = try group.open()
            let programs = try ProgramSet()
            let lines = Lines()
            do {
                var attachments = Attachments(log: lines.log)
                for hook in [Hook.witness(.down), Hook.meter(.up)] {
                    try attachments.attach(hook, of: programs, to: cgroup.descriptor, at: "/the/group", by: method)
                }
                #expect(lines.all.count == 2)
            }
            #expect(
                lines.all == [
                    "debug: attached throttle_wit_dn, cgroup /the/group, type cgroup_inet_ingress,"
                        + " mode multi (BPF_F_ALLOW_MULTI), method \(method)",
                    "debug: attached throttle_up, cgroup /the/group, type cgroup_inet_egress,"
                        + " mode multi (BPF_F_ALLOW_MULTI), method \(method)",
                    "debug: detached throttle_up (cgroup_inet_egress) from /the/group",
                    "debug: detached throttle_wit_dn (cgroup_inet_ingress) from /the/group",
                ])
        }

        @Test func `a program that somebody else detached is told of`() throws {
            let group = try TestCgroup()
            let cgroup = try group.open()
            let programs = try ProgramSet()
            let lines = Lines()
            let hook = Hook.meter(.down)
            do {
                var attachments = Attachments(log: lines.log)
                try attachments.attach(hook, of: programs, to: cgroup.descriptor, at: "/the/group", by: .legacy)
                let program = programs.descriptor(of: hook)
                #expect(bpf_prog_detach2(program, cgroup.descriptor.rawValue, BPF_CGROUP_INET_INGRESS) == 0)
            }
            #expect(
                lines.all.last
                    == "warning: can't detach throttle_down (cgroup_inet_ingress) from /the/group: No such file or directory"
            )
        }

        @Test(arguments: methods)
        func `undoing leaves no descriptor open and needs none of the caller's`(method: AttachMethod) async {
            await #expect(processExitsWith: .success) { [name = method.rawValue as String] in
                let method = try #require(AttachMethod(rawValue: name))
                let group = try TestCgroup()
                do {
                    var attachments = Attachments(log: .silent)
                    do {
                        let cgroup = try group.open()
                        let programs = try ProgramSet()
                        for direction in Direction.allCases {
                            try attachments.attach(
                                Hook.meter(direction), of: programs, to: cgroup.descriptor, at: group.path,
                                by: method)
                        }
                    }
                    #expect(!openDescriptors().filter { $0.contains("bpf") }.isEmpty)
                    let cgroup = try group.open()
                    #expect(AttachedProgram.all(on: cgroup.descriptor, .ingress).count == 1)
                }
                #expect(openDescriptors().filter { $0.contains("bpf") || $0 == group.path }.isEmpty)
                let cgroup = try group.open()
                #expect(AttachedProgram.all(on: cgroup.descriptor, .ingress).isEmpty)
            }
        }

        @Test(arguments: methods)
        func `the 65th program on a cgroup is one too many`(method: AttachMethod) throws {
            let group = try TestCgroup()
            let cgroup = try group.open()
            let programs = try ProgramSet()
            var attachments = Attachments(log: .silent)
            for _ in 0..<64 {
                try attachments.attach(
                    Hook.witness(.down), of: programs, to: cgroup.descriptor, at: group.path, by: .link)
            }
            #expect(AttachedProgram.all(on: cgroup.descriptor, .ingress).count == 64)
            do throws(SystemError) {
                try attachments.attach(
                    Hook.meter(.down), of: programs, to: cgroup.descriptor, at: group.path, by: method)
                Issue.record("attached a 65th program")
            } catch {
                #expect(error.errno == .argListTooLong)
                #expect(
                    error.description == "can't attach throttle_down (cgroup_inet_ingress) to \(group.path):"
                        + " Argument list too long")
            }
            try attachments.attach(
                Hook.meter(.up), of: programs, to: cgroup.descriptor, at: group.path, by: method)
        }
    }
}
