import Kernel
import Programs
import Units

/// One thing that the doctor found out.
package struct Finding: Sendable, Equatable {
    /// What it is about.
    package enum Area: String, Sendable, CaseIterable {
        case kernel, capabilities, cgroup, delegation, programs, leftovers
        case bpf = "BPF"
        case attach, queue, ingress
        case selfTest = "self-test"
    }

    /// How bad it is, from the best on.
    package enum Level: String, Sendable, CaseIterable {
        case ok
        /// Worth knowing; limits hold as well as elsewhere.
        case info
        /// Limits hold, but not as well as they could, or something is to be put in order.
        case degraded
        /// Limits can't be set up, or don't hold.
        case broken
    }

    package let area: Area
    package let level: Level
    /// What was found, for people.
    package let text: String
    /// What to do about it.
    package let advice: String?

    init(_ area: Area, _ level: Level, _ text: String, advice: String? = nil) {
        self.area = area
        self.level = level
        self.text = text
        self.advice = advice
    }
}

/// A program on the caller's cgroup or one above it, at a place where runs attach theirs.
package struct SurroundingProgram: Sendable {
    /// What it means for a run.
    package enum Effect: String, Sendable {
        case none
        /// Nothing may be attached below it.
        case stops
        /// It doesn't see a run's packets and sockets.
        case passedOver = "passed_over"
    }

    /// The path of its cgroup.
    package let cgroup: String
    package let type: AttachType
    package let program: AttachedProgram
    package let effect: Effect

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
package enum Health: Int32, Sendable {
    case ready, degraded, broken

    /// As JSON has it.
    package var name: String { "\(self)" }

    /// The exit status.
    package var status: Int32 { rawValue }
}

/// All that the doctor found out.
package struct Diagnosis: Sendable {
    package internal(set) var findings: [Finding] = []
    package internal(set) var programs: [SurroundingProgram] = []
    package internal(set) var leftovers: [Leftover] = []
    /// The signal that cut the examination short.
    package internal(set) var interruption: Int32?

    /// As bad as the worst finding.
    package var health: Health {
        let levels = Set(findings.map(\.level))
        return levels.contains(.broken) ? .broken : levels.contains(.degraded) ? .degraded : .ready
    }

    /// For people, without a newline at its end: a line for each finding, with what to do below, and the verdict.
    package var text: String {
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
