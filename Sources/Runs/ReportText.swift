import Commands
import Programs
import Units

extension Report {
    /// The report for people, without a newline at its end.
    public var text: String {
        var lines = ["\(name): \(outcomeText) after \(fixed(Double(elapsedNanoseconds) / 1e9, digits: 2)) s"]
        for (name, direction) in [("download", down), ("upload", up)] {
            lines.append("\(name): \(summary(of: direction))")
            lines.append("  \(counters(of: direction))")
        }
        return (lines + reasons.map { "NOT THROTTLED: \($0)" }).joined(separator: "\n")
    }

    private var outcomeText: String {
        switch outcome {
        case .exited(let code): "exited with status \(code)"
        case .killed(let signal): "killed by signal \(signal)"
        case .notExecuted(let error): "not executed (\(error))"
        case nil: "running"
        }
    }

    private func summary(of direction: DirectionReport) -> String {
        let achieved = Scaled(direction.achieved, unit: "B/s")
        guard let ratio = direction.ratio else { return "\(achieved), no limit" }
        let verdict =
            switch verdict(direction) {
            case .throttled: "throttled"
            case .belowLimit: "below the limit"
            case .notThrottled: "NOT THROTTLED"
            case .unlimited: "no limit"
            }
        return "\(achieved) of \(direction.limit) (\(fixed(ratio, digits: 2))x, \(verdict))"
    }

    private func counters(of direction: DirectionReport) -> String {
        let counters = direction.counters
        return [
            "program calls \(counters.programCalls)",
            "passed \(counters.passedPackets) packets",
            "payload \(Scaled(Double(counters.passedPayloadBytes), unit: "B"))",
            "wire \(Scaled(Double(counters.passedWireBytes), unit: "B"))",
            "dropped \(counters.droppedPackets) packets (\(fixed(direction.droppedShare * 100, digits: 1)) %)",
        ].joined(separator: ", ")
    }
}
