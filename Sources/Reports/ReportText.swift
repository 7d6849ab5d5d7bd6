import Programs
import Units

extension Report {
    /// The report for people, without a newline at its end.
    package var text: String {
        var lines = ["\(subject.name): \(outcomeText) after \(fixed(Double(elapsedNanoseconds) / 1e9, digits: 2)) s"]
        for (name, direction) in [("download", down), ("upload", up)] {
            lines.append("\(name): \(summary(of: direction))")
            lines.append("  \(counters(of: direction))")
            if direction.limit != .unlimited || yielding != nil { lines.append("  \(planes(of: direction.direction))") }
        }
        if let yielding {
            lines.append(
                "background: \(rates.down) down, \(rates.up) up now; gave way \(yielding.yields[0]) times down,"
                    + " \(yielding.yields[1]) up; round trip \(milliseconds(yielding.base)) and"
                    + " \(milliseconds(yielding.queueing)) of queue")
        }
        if let quota {
            let used = Scaled(Double(down.passedBytes + up.passedBytes), of: Double(quota), unit: "B")
            lines.append("quota: \(used) used\(isEndedByQuota ? ", and so the command was ended" : "")")
        }
        if impairment != .none {
            lines.append(
                "network: \(impairment); lost \(down.counters.lostPackets) packets down, \(up.counters.lostPackets) up")
        }
        if let group {
            lines.append("group \(group.name): \(group.runs) runs share \(group.down) down, \(group.up) up")
        }
        lines += [leftBehindText].compactMap { $0 } + reasons.map { "NOT THROTTLED: \($0)" }
        return lines.map(\.printable).joined(separator: "\n")
    }

    private func milliseconds(_ microseconds: UInt32) -> String {
        "\(TimeSpan(nanoseconds: UInt64(microseconds) * 1000))"
    }

    private var outcomeText: String {
        if let target = subject.attachedTo { return attachedText(target) }
        return switch outcome {
        case .exited(let code): "exited with status \(code)"
        case .killed(let signal): "killed by signal \(signal)"
        case .notExecuted(let error): "not executed (\(error))"
        case nil: "running"
        }
    }

    private func attachedText(_ target: String) -> String {
        switch outcome {
        case .exited: "attached to \(target), left"
        case .killed(let signal): "attached to \(target), left by signal \(signal)"
        case .notExecuted, nil: "attached to \(target)"
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
            case .exempt: "not limited, as all traffic was exempt"
            case .unlimited: "no limit"
            }
        return "\(achieved) of \(direction.limit) (\(fixed(ratio, digits: 2))x, \(verdict))"
    }

    /// What held a limit, and what it did.
    private func planes(of direction: Direction) -> String {
        let counters = planeCounters
        var parts: [String] = []
        let plane = direction == .down ? Plane.shape : .queue
        if planes.contains(plane) {
            let queue = counters.queue(direction)
            let (average, most) = (queue.delayAverageNanoseconds, queue.delayMaximumNanoseconds)
            parts.append(
                "\(plane): \(queue.droppedPackets) packets dropped by the queue, delay"
                    + " \(average / 1_000_000) ms on average, \(most / 1_000_000) ms at most")
        }
        switch direction {
        case .down:
            if planes.contains(.window) { parts.append("window: \(counters.clampedSockets) sockets clamped") }
        case .up:
            if planes.contains(.pace) {
                parts.append(
                    "pace: \(counters.pacedSockets) sockets paced, \(up.counters.deferredPackets) packets deferred,"
                        + " \(counters.retransmittedSegments) segments sent again")
            }
        }
        return (parts + ["police"]).joined(separator: "; ")
    }

    private func counters(of direction: DirectionReport) -> String {
        let counters = direction.counters
        let exempt =
            "exempt \(counters.exemptPackets) packets (\(Scaled(Double(counters.exemptBytes), unit: "B")))"
        let parts = [
            "program calls \(counters.programCalls)",
            "passed \(counters.passedPackets) packets",
            "payload \(Scaled(Double(counters.passedPayloadBytes), unit: "B"))",
            "wire \(Scaled(Double(counters.passedWireBytes), unit: "B"))",
            "dropped \(counters.droppedPackets) packets (\(fixed(direction.droppedShare * 100, digits: 1)) %)",
        ]
        return (parts + (counters.exemptPackets > 0 ? [exempt] : [])).joined(separator: ", ")
    }
}
