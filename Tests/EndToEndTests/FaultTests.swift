import Foundation
import Testing

/// Each system call of a run fails once, made so by strace(1). The run ends with its command's status, and says what it had
/// to do without, or with one error; and nothing of it stays.
///
/// That is some thousand faults: by default, each kind of run meets a few. THROTTLE_FAULTS=all has it meet all, and
/// THROTTLE_FAULTS=legacy that kind alone.
@Suite(.serialized) struct FaultTests {
    enum Kind: String, CaseIterable {
        case link, legacy, filter, shape, keep, release, group, process, cgroup

        var options: [String] {
            switch self {
            case .link, .filter, .keep, .process, .cgroup: []
            case .legacy: ["--attach", "legacy"]
            case .shape: ["--mode", "shape"]
            case .release: ["--linger", "release"]
            case .group: ["--group", FaultyPlace.group]
            }
        }

        /// Whether it limits what runs already.
        var hasTarget: Bool { [.process, .cgroup].contains(self) }

        /// The status of a run that has come to its end.
        var status: CInt { hasTarget ? 0 : 7 }

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
        let place = try FaultyPlace(
            lab, hasFilters: kind == .filter, hasGroup: kind == .group, hasTarget: kind.hasTarget)
        let all = try Fault.all(in: place.trace(of: victim, words(kind, place)))
        #expect(all.count > 150)
        #expect(try place.leftovers() == nil)
        var counts: [Outcome: Int] = [:]
        for fault in chosen(of: all, kind) {
            let outcome = try meet(fault, kind, victim, place)
            counts[outcome, default: 0] += 1
        }
        if takesAll(kind) { print("faults: \(kind) \(victim): \(counts.sorted { $0.value > $1.value })") }
    }

    private func takesAll(_ kind: Kind) -> Bool { ["all", kind.rawValue].contains(FaultTests.chosen) }

    private func chosen(of all: [Fault], _ kind: Kind) -> [Fault] {
        let stride = takesAll(kind) ? 1 : all.count / FaultTests.fewFaults
        return Swift.stride(from: stride - 1, to: all.count, by: stride).map { all[$0] }
    }

    private func words(_ kind: Kind, _ place: FaultyPlace, seconds: Double = 0.15) -> [String] {
        let words = [throttlePath, "run", "-d", "50k", "-u", "50k", "--stats=json", "--stats-file", reportPath]
        let duration = ["--for", "\(Int(seconds * 1000))ms"]
        return switch kind {
        case .process: words + duration + ["-p", "\(place.target?.pid ?? 0)"]
        case .cgroup: words + duration + ["--cgroup", place.home.path]
        default: words + kind.options + ["--"] + sendingFirst(kind.script(seconds))
        }
    }

    private func meet(
        _ fault: Fault, _ kind: Kind, _ victim: FaultyPlace.Victim, _ place: FaultyPlace
    ) throws -> Outcome {
        unlink(reportPath)
        var completed = try place.run(words(kind, place), victim, fault)
        // A busy machine may have needed more time.
        if outcome(of: completed, kind) == nil {
            completed = try place.run(words(kind, place, seconds: 4), victim, fault)
        }
        let outcome = outcome(of: completed, kind)
        #expect(outcome != nil, "\(fault) in the \(victim): \(completed.ending), \(completed.stderr)")
        #expect(completed.stdout == "" && completed.seconds < 12, "\(fault) in the \(victim)")
        if let left = try place.leftovers() {
            try place.sweep()
            let isSwept = try place.leftovers() == nil
            Issue.record("\(fault) in the \(victim) left \(left), which the next run \(isSwept ? "sweeps" : "leaves")")
        }
        return outcome ?? .failed
    }

    @Test(arguments: [Kind.process, .cgroup], FaultyPlace.Victim.allCases)
    func `what runs already goes on as before, in whichever call a process is killed`(
        _ kind: Kind, _ victim: FaultyPlace.Victim
    ) throws {
        let place = try FaultyPlace(lab, hasTarget: true)
        let all = try Fault.kills(in: place.trace(of: victim, words(kind, place)))
        for fault in chosen(of: all, kind) {
            let completed = try place.run(words(kind, place), victim, fault)
            // Not each run makes as many calls as the first did.
            let isAsExpected =
                completed.ending == .exited(0) || victim == .wrapper && completed.ending == .killed(SIGKILL)
            #expect(isAsExpected, "\(fault) of the \(victim): \(completed.ending), \(completed.stderr)")
            var left = try place.leftovers()
            // At the end nobody waits for the guard: the next run removes its queues.
            if left != nil && victim == .guard {
                try place.sweep()
                left = try place.leftovers()
            }
            #expect(left == nil, "\(fault) of the \(victim)")
        }
    }

    /// nil where the run ended in no way that it may.
    private func outcome(of completed: Completed, _ kind: Kind) -> Outcome? {
        let lines = completed.stderr.split(separator: "\n")
        guard lines.allSatisfy({ $0.hasPrefix("throttle: ") }) else { return nil }
        switch completed.ending {
        case .exited(125): return lines.count == 1 ? .failed : nil
        case .exited(kind.status):
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
        let fault = Fault(call: call, effect: "error=EPERM", number: 1)
        let tracing = ["strace", "-f", "-qq", "-o", "/dev/null"] + fault.options
        let completed = try lab.run(tracing + throttle("-d", "50k", "--user", "65534:65534") + ["touch", "ran"])
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr == "throttle: can't become the user of --user: Operation not permitted\n")
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }
}
