import Foundation
import Testing

/// Each system call of a run fails once, made so by strace(1). The run ends with its command's status, and says what it had
/// to do without, or with one error; and nothing of it stays.
///
/// That is some thousand faults: by default, each kind of run meets a few. THROTTLE_FAULTS=all has it meet all, and
/// THROTTLE_FAULTS=legacy that kind alone.
@Suite(.serialized) struct FaultTests {
    enum Kind: String, CaseIterable {
        case link, legacy, filter, shape, keep, release, group

        var options: [String] {
            switch self {
            case .link, .filter, .keep: []
            case .legacy: ["--attach", "legacy"]
            case .shape: ["--mode", "shape"]
            case .release: ["--linger", "release"]
            case .group: ["--group", FaultyPlace.group]
            }
        }

        /// Long enough for the planes to come up.
        func script(_ seconds: Double) -> String {
            let lingers = [.keep, .release].contains(self)
            return lingers ? "sleep \(seconds * 2) & sleep \(seconds); exit 7" : "sleep \(seconds); exit 7"
        }
    }

    enum Outcome: String {
        case unaffected, degraded, failed
    }

    private static let chosen = ProcessInfo.processInfo.environment["THROTTLE_FAULTS"]
    private static let fewFaults = 8

    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    @Test(arguments: Kind.allCases, FaultyPlace.Victim.allCases)
    func `every system call may fail`(_ kind: Kind, _ victim: FaultyPlace.Victim) throws {
        let place = try FaultyPlace(lab, hasFilters: kind == .filter, hasGroup: kind == .group)
        let all = try Fault.all(in: place.trace(of: victim, words(kind)))
        #expect(all.count > 150)
        #expect(try place.leftovers() == nil)
        let takesAll = ["all", kind.rawValue].contains(FaultTests.chosen)
        let stride = takesAll ? 1 : all.count / FaultTests.fewFaults
        var counts: [Outcome: Int] = [:]
        for index in Swift.stride(from: stride - 1, to: all.count, by: stride) {
            let outcome = try meet(all[index], kind, victim, place)
            counts[outcome, default: 0] += 1
        }
        if takesAll { print("faults: \(kind) \(victim): \(counts.sorted { $0.value > $1.value })") }
    }

    private func words(_ kind: Kind, seconds: Double = 0.15) -> [String] {
        [throttlePath, "run", "-d", "50k", "-u", "50k", "--stats=json", "--stats-file", reportPath] + kind.options
            + ["--"] + sendingFirst(kind.script(seconds))
    }

    private func meet(
        _ fault: Fault, _ kind: Kind, _ victim: FaultyPlace.Victim, _ place: FaultyPlace
    ) throws -> Outcome {
        unlink(reportPath)
        var completed = try place.run(words(kind), victim, fault)
        // A busy machine may have needed more time.
        if outcome(of: completed) == nil { completed = try place.run(words(kind, seconds: 4), victim, fault) }
        let outcome = outcome(of: completed)
        #expect(outcome != nil, "\(fault) in the \(victim): \(completed.ending), \(completed.stderr)")
        #expect(completed.stdout == "" && completed.seconds < 12, "\(fault) in the \(victim)")
        if let left = try place.leftovers() {
            try place.sweep()
            let isSwept = try place.leftovers() == nil
            Issue.record("\(fault) in the \(victim) left \(left), which the next run \(isSwept ? "sweeps" : "leaves")")
        }
        return outcome ?? .failed
    }

    /// nil where the run ended in no way that it may.
    private func outcome(of completed: Completed) -> Outcome? {
        let lines = completed.stderr.split(separator: "\n")
        guard lines.allSatisfy({ $0.hasPrefix("throttle: ") }) else { return nil }
        switch completed.ending {
        case .exited(125): return lines.count == 1 ? .failed : nil
        case .exited(7):
            let isComplete = report?.planes == ["pace", "police", "shape", "window"]
            if isComplete && lines.isEmpty { return .unaffected }
            // What it did without, it must have said, or have reported.
            return !lines.isEmpty || report?.shape_obstacle != nil ? .degraded : nil
        default: return nil
        }
    }

    private struct Report: Decodable {
        let planes: [String]
        let shape_obstacle: String?
    }

    /// What the last run reported; nil where it couldn't.
    private var report: Report? {
        FileManager.default.contents(atPath: reportPath).flatMap { try? JSONDecoder().decode(Report.self, from: $0) }
    }

    private var reportPath: String { "\(lab.folder)/report" }

    /// The command's process becomes its user by four calls, of which none may be passed over.
    @Test(arguments: ["setgroups", "setresgid", "setresuid", "capset"])
    func `command that cannot become its user does not run`(_ call: String) throws {
        let fault = Fault(call: call, error: "EPERM", number: 1)
        let tracing = ["strace", "-f", "-qq", "-o", "/dev/null"] + fault.options
        let completed = try lab.run(tracing + throttle("-d", "50k", "--user", "65534:65534") + ["touch", "ran"])
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr == "throttle: can't become the user of --user: Operation not permitted\n")
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }
}
