import Commands
import Programs
import Units

/// What became of one direction's limit.
public enum Verdict: String, Sendable, Codable {
    /// Packets were dropped to hold the limit.
    case throttled
    /// The limit was never reached.
    case belowLimit = "below_limit"
    /// The limit didn't hold for all of the traffic.
    case notThrottled = "not_throttled"
    /// No limit was asked for.
    case unlimited
}

/// What one direction of a run did.
public struct DirectionReport: Sendable {
    public let limit: Rate
    public let counting: Counting
    public var counters = Counters()

    /// Bytes that passed, as the limit counts them.
    var passedBytes: UInt64 { counting == .wire ? counters.passedWireBytes : counters.passedPayloadBytes }

    /// The time that `achieved` is averaged over: from the first to the last packet that was charged, at
    /// least one second, as a transfer that fits into the burst has no rate of its own. Without a limit,
    /// nothing is charged, and it is the time of the whole run.
    public internal(set) var averagedSeconds = 1.0

    /// Bytes per second.
    public var achieved: Double { Double(passedBytes) / averagedSeconds }

    mutating func average(over elapsedNanoseconds: UInt64) {
        let active = limit == .unlimited ? elapsedNanoseconds : counters.activeNanoseconds
        averagedSeconds = max(1, Double(active) / 1e9)
    }

    /// Achieved rate over limit; nil where there is none.
    public var ratio: Double? {
        if case .bytesPerSecond(let rate) = limit { achieved / Double(rate) } else { nil }
    }

    /// Packets that the parent's witness saw and the run's own program didn't.
    public var escapedPackets: UInt64 {
        let seen = counters.witnessPackets ?? 0
        return seen - min(seen, counters.programCalls)
    }

    /// Dropped packets over all packets.
    public var droppedShare: Double {
        Double(counters.droppedPackets) / Double(max(1, counters.programCalls))
    }
}

/// What a run did.
public struct Report: Sendable {
    public var down: DirectionReport
    public var up: DirectionReport
    public let command: [String]
    public let name: String
    public let burst: TimeSpan
    /// nil where the run wasn't limited at all.
    public internal(set) var id: String?
    public internal(set) var method: AttachMethod?
    public internal(set) var elapsedNanoseconds: UInt64 = 0
    public internal(set) var outcome: Outcome?
    /// Whether the command itself had left the run's cgroup by its end.
    public internal(set) var hasMoved = false
    /// What went otherwise than asked for, worst first.
    public internal(set) var warnings: [String] = []

    init(_ plan: RunPlan, _ command: Command) {
        down = DirectionReport(limit: plan.down, counting: plan.counting)
        up = DirectionReport(limit: plan.up, counting: plan.counting)
        self.command = command.words
        name = plan.name ?? command.words[0]
        burst = plan.burst
    }

    public func verdict(_ direction: DirectionReport) -> Verdict {
        guard direction.limit != .unlimited else { return .unlimited }
        if id == nil || hasMoved || direction.escapedPackets > 0 { return .notThrottled }
        return direction.counters.droppedPackets > 0 ? .throttled : .belowLimit
    }

    /// Takes the end of the run down, and what it says about the limits.
    mutating func end(_ outcome: Outcome, after elapsedNanoseconds: UInt64) {
        self.outcome = outcome
        self.elapsedNanoseconds = elapsedNanoseconds
        down.average(over: elapsedNanoseconds)
        up.average(over: elapsedNanoseconds)
        guard id != nil else { return }
        if hasMoved {
            warnings.append(
                "the command left the run's cgroup (as sudo, su and machinectl may make it): put throttle"
                    + " behind what moves it, as in: sudo throttle run … --")
        }
        for (name, direction) in [("download", down), ("upload", up)] where direction.escapedPackets > 0 {
            let what = direction.counters.programCalls == 0 ? "none" : "only \(direction.counters.programCalls)"
            warnings.append(
                "\(name): \(direction.counters.witnessPackets ?? 0) packets"
                    + " (\(Scaled(Double(direction.counters.witnessBytes ?? 0), unit: "B"))) reached the run's parent"
                    + " cgroup, but \(what) of them its own program: processes moved out of the run's cgroup, or"
                    + " another tool detached the program; look at bpftool cgroup tree")
        }
    }

    /// Whether part of the limits didn't hold.
    public var isNotThrottled: Bool { [down, up].contains { verdict($0) == .notThrottled } }
}
