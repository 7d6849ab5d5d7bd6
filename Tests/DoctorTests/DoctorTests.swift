import CLibBPF
import Cgroups
import Foundation
import Kernel
import Programs
import TestSupport
import Testing
import Units

import Reports

@testable import Doctor

@Suite struct DiagnosisTests {
    private func diagnosis(_ findings: Finding...) -> Diagnosis {
        var diagnosis = Diagnosis()
        diagnosis.findings = findings
        return diagnosis
    }

    @Test(
        arguments: [
            ([], .ready), ([.ok], .ready), ([.ok, .info], .ready), ([.degraded, .ok], .degraded),
            ([.degraded, .broken, .info], .broken),
        ] as [([Finding.Level], Health)])
    func `the worst finding decides`(levels: [Finding.Level], health: Health) {
        var diagnosis = Diagnosis()
        diagnosis.findings = levels.map { Finding(.kernel, $0, "text") }
        #expect(diagnosis.health == health)
    }

    @Test func `the exit status is 0, 1 or 2`() {
        #expect([Health.ready, .degraded, .broken].map(\.status) == [0, 1, 2])
    }

    @Test func `the text is aligned, with what to do below, once for several findings`() {
        let found = diagnosis(
            Finding(.kernel, .ok, "Linux 6.1"), Finding(.queue, .info, "no fq_codel", advice: "modprobe"),
            Finding(.leftovers, .degraded, "device a", advice: "throttle cleanup"),
            Finding(.leftovers, .degraded, "device b\nok", advice: "throttle cleanup"))
        #expect(
            found.text == """
                ok  kernel        Linux 6.1
                --  queue         no fq_codel
                                  -> modprobe
                !   leftovers     device a
                !   leftovers     device b\\nok
                                  -> throttle cleanup
                degraded: throttle works here, but see what is marked with !
                """)
        #expect(diagnosis().text == "ready: throttle works here")
        let broken = diagnosis(Finding(.capabilities, .broken, "none")).text
        #expect(broken.hasPrefix("!!  capabilities  none\nbroken: "))
    }

    @Test func `the object has all of it`() throws {
        var found = diagnosis(Finding(.bpf, .broken, "\"no\"", advice: "do"))
        let program = AttachedProgram(id: 7, name: "x", mode: .exclusive)
        found.programs = [SurroundingProgram(cgroup: "/a", type: .ingress, program: program, effect: .stops)]
        found.leftovers = [Leftover(.device, "thr-1", note: "n")]
        #expect(
            found.json
                == #"{"findings":[{"advice":"do","area":"BPF","level":"broken","text":"\"no\""}],"#
                + #""leftovers":[{"kind":"device","name":"thr-1","note":"n"}],"programs":[{"cgroup":"/a","#
                + #""effect":"stops","id":7,"mode":"exclusive","name":"x","type":"cgroup_inet_ingress"}],"#
                + #""schema":1,"verdict":"broken"}"#)
    }

    @Test func `programs are flagged`() {
        func finding(_ mode: SharingMode, _ effect: SurroundingProgram.Effect) -> Finding {
            let program = AttachedProgram(id: 7, name: "x", mode: mode)
            return SurroundingProgram(cgroup: "/a", type: .egress, program: program, effect: effect).finding
        }
        #expect(finding(.multi, .none) == Finding(.programs, .info, "program 7 (x) on /a: cgroup_inet_egress, multi"))
        let exclusive = finding(.exclusive, .stops)
        #expect(exclusive.level == .broken && exclusive.advice?.contains("--cgroup-parent") == true)
        #expect(exclusive.text == "program 7 (x) on /a: cgroup_inet_egress, exclusive: would stop us")
        let override = finding(.override, .passedOver)
        #expect(override.level == .degraded && override.text.hasSuffix("override: is passed over"))
    }
}

@Suite struct SurroundingProgramTests {
    @Test func `of each type the nearest cgroup decides, and those further up are passed over`() throws {
        let group = try TestCgroup()
        try group.make("between/base")
        let far = try ForeignProgram("far", on: try group.open(), .down, flags: UInt32(BPF_F_ALLOW_OVERRIDE))
        let near = try ForeignProgram("near", on: try group.open("between"), .down, flags: UInt32(BPF_F_ALLOW_MULTI))
        let up = try ForeignProgram("up", on: try group.open(), .up)
        let found = surroundingPrograms(from: try group.open("between/base")).filter {
            $0.cgroup.hasPrefix(group.path)
        }
        #expect(found.map(\.program.id) == [near.id, far.id, up.id])
        #expect(found.map(\.program.name) == ["near", "far", "up"])
        #expect(found.map(\.effect) == [.none, .passedOver, .stops])
        #expect(found.map(\.type) == [.ingress, .ingress, .egress])
        #expect(found.map(\.cgroup) == [group.path + "/between", group.path, group.path])
    }

    @Test func `more than 60 of one type on one cgroup are a crowd`() {
        func programs(_ count: UInt32, _ cgroup: String, _ type: AttachType) -> [SurroundingProgram] {
            (0..<count).map {
                let program = AttachedProgram(id: $0, name: nil, mode: .multi)
                return SurroundingProgram(cgroup: cgroup, type: type, program: program, effect: .none)
            }
        }
        #expect(crowds(in: programs(60, "/", .ingress) + programs(5, "/a", .ingress)).isEmpty)
        let found = crowds(in: programs(61, "/", .egress) + programs(5, "/", .ingress))
        #expect(found.map(\.cgroup) == ["/"] && found.map(\.type) == [.egress] && found.map(\.count) == [61])
    }
}

@Suite struct SelfTestTests {
    /// The report of a transfer at these shares of the limit, 700 ms each way.
    private static let limiting = Set(Plane.allCases).subtracting([.delay])

    private func report(_ down: Double, _ up: Double, _ planes: Set<Plane> = SelfTestTests.limiting) -> Report {
        let limit = Rate.bytesPerSecond(SelfTest.rate)
        var report = makeReport(down: limit, up: limit)
        let bytes = Double(SelfTest.rate) * 0.7
        report.down.counters = Counters(passed: UInt64(bytes * down / 1000), seconds: 0.7)
        report.up.counters = Counters(passed: UInt64(bytes * up / 1000), seconds: 0.7)
        report.planes = planes
        return report
    }

    @Test(
        arguments: [
            (1, 1, .ok), (0.75, 1.1, .ok), (0.65, 1, .degraded), (1, 1.2, .degraded), (0.4, 1, .broken),
            (1, 1.4, .broken), (0.7, 1.4, .broken), (0, 1, .broken), (0, 0, .broken),
        ] as [(Double, Double, Finding.Level)])
    func `what was achieved decides`(down: Double, up: Double, level: Finding.Level) {
        let finding = SelfTest.finding(.exited(0), report(down, up))
        #expect(finding.level == level && (finding.advice == nil) == (level == .ok))
    }

    @Test func `planes, rates and calls are named`() {
        #expect(
            SelfTest.finding(.exited(0), report(1, 0.9)).text
                == "download 1.00x, upload 0.90x of 2.0 MB/s, held by pace police queue shape window; 2660 program calls"
        )
    }

    @Test func `police alone lets the burst through in addition`() {
        #expect(SelfTest.finding(.exited(0), report(1.3, 1.3, [.police])).level == .ok)
        #expect(SelfTest.finding(.exited(0), report(1, 1.3, [.police, .pace])).level == .degraded)
    }

    @Test func `a transfer that failed and a limit that didn't hold are told`() {
        #expect(SelfTest.finding(.exited(1), report(1, 1)).text.contains("no transfer"))
        var escaped = report(1, 1)
        escaped.down.counters.witnessPackets = 9999
        let finding = SelfTest.finding(.exited(0), escaped)
        #expect(finding.level == .broken && finding.text.hasPrefix("NOT THROTTLED: download: 9999 packets"))
    }
}
