import Kernel
import Programs
import Units

/// One thing that the doctor found out.
public struct Finding: Sendable, Equatable {
    /// What it is about.
    public enum Area: String, Sendable, CaseIterable {
        case kernel, capabilities, cgroup, delegation, programs, leftovers
        case bpf = "BPF"
        case attach, queue, ingress
        case selfTest = "self-test"
    }

    /// How bad it is, from the best on.
    public enum Level: String, Sendable, CaseIterable {
        case ok
        /// Worth knowing; limits hold as well as elsewhere.
        case info
        /// Limits hold, but not as well as they could, or something is to be put in order.
        case degraded
        /// Limits can't be set up, or don't hold.
        case broken
    }

    public let area: Area
    public let level: Level
    /// What was found, for people.
    public let text: String
    /// What to do about it.
    public let advice: String?

    init(_ area: Area, _ level: Level, _ text: String, advice: String? = nil) {
        self.area = area
        self.level = level
        self.text = text
        self.advice = advice
    }
}

/// A program on the caller's cgroup or one above it, at a place where runs attach theirs.
public struct SurroundingProgram: Sendable {
    /// What it means for a run.
    public enum Effect: String, Sendable {
        case none
        /// Nothing may be attached below it.
        case stops
        /// It doesn't see a run's packets and sockets.
        case passedOver = "passed_over"
    }

    /// The path of its cgroup.
    public let cgroup: String
    public let type: AttachType
    public let program: AttachedProgram
    public let effect: Effect

    /// The finding about it alone.
    var finding: Finding {
        let text = "\(program.described) on \(cgroup): \(type.rawValue), \(program.mode.rawValue)"
        return switch effect {
        case .none: Finding(.programs, .info, text)
        case .stops:
            Finding(.programs, .broken, "\(text): would stop us", advice: AttachedProgram.adviceOnExclusive)
        case .passedOver:
            Finding(
                .programs, .degraded, "\(text): is passed over",
                advice: "if it is a firewall, have its owner attach it with BPF_F_ALLOW_MULTI: it doesn't see what runs"
                    + " send and receive")
        }
    }
}

/// Whether limits can be set up here and hold.
public enum Health: Int32, Sendable {
    case ready, degraded, broken

    /// As JSON has it.
    public var name: String { "\(self)" }

    /// The exit status.
    public var status: Int32 { rawValue }
}

/// All that the doctor found out.
public struct Diagnosis: Sendable {
    public internal(set) var findings: [Finding] = []
    public internal(set) var programs: [SurroundingProgram] = []
    public internal(set) var leftovers: [Leftover] = []
    /// The signal that cut the examination short.
    public internal(set) var interruption: Int32?

    /// As bad as the worst finding.
    public var health: Health {
        let levels = Set(findings.map(\.level))
        return levels.contains(.broken) ? .broken : levels.contains(.degraded) ? .degraded : .ready
    }

    /// For people, without a newline at its end: a line for each finding, with what to do below, and the verdict.
    public var text: String {
        let width = Finding.Area.allCases.map(\.rawValue.count).max() ?? 0
        var lines: [String] = []
        for (number, finding) in findings.enumerated() {
            let area = finding.area.rawValue
            let gap = String(repeating: " ", count: width - area.count + 2)
            lines.append("\(finding.level.mark)  \(area)\(gap)\(finding.text.printable)")
            // Once for several that ask for the same.
            guard let advice = finding.advice, findings.dropFirst(number + 1).first?.advice != advice else { continue }
            lines.append(String(repeating: " ", count: width + 6) + "-> " + advice.printable)
        }
        return (lines + [verdict]).joined(separator: "\n")
    }

    private var verdict: String {
        switch health {
        case .ready: "ready: throttle works here"
        case .degraded: "degraded: throttle works here, but see what is marked with !"
        case .broken: "broken: throttle can't work here; see what is marked with !!"
        }
    }
}

extension Finding.Level {
    fileprivate var mark: String {
        switch self {
        case .ok: "ok"
        case .info: "--"
        case .degraded: "! "
        case .broken: "!!"
        }
    }
}
