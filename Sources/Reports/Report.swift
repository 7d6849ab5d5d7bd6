import Processes
import Programs
import Units

/// What became of one direction's limit.
package enum Verdict: String, Sendable, Codable {
    /// The limit held traffic back: packets were dropped, queued, deferred or paced.
    case throttled
    /// The limit was never reached.
    case belowLimit = "below_limit"
    /// The limit didn't hold for all of the traffic.
    case notThrottled = "not_throttled"
    /// All of the traffic was with peers that the limit isn't for.
    case exempt
    /// No limit was asked for.
    case unlimited
}

/// What one direction of a run did.
package struct DirectionReport: Sendable {
    package let direction: Direction
    /// The last one, as it may have been changed meanwhile: what was asked for, and no more than a group has.
    package var limit: Rate
    package let counting: Counting
    package var counters = Counters()

    /// Bytes that passed, as the limit counts them.
    package var passedBytes: UInt64 { counters.passedBytes(counting) }

    /// The time that `achieved` is averaged over: from the first to the last packet that was charged, at
    /// least one second, as a transfer that fits into the burst has no rate of its own. Without a limit,
    /// nothing is charged, and it is the time of the whole run.
    package var averagedSeconds = 1.0

    /// Bytes per second.
    package var achieved: Double { Double(passedBytes) / averagedSeconds }

    mutating func average(over elapsedNanoseconds: UInt64) {
        let active = limit == .unlimited ? elapsedNanoseconds : counters.activeNanoseconds
        averagedSeconds = max(1, Double(active) / 1e9)
    }

    /// Achieved rate over limit; nil where there is none.
    package var ratio: Double? {
        limit.bytesPerSecond.map { achieved / Double($0) }
    }

    /// Packets that the parent's witness saw and the run's own program didn't.
    package var escapedPackets: UInt64 {
        let seen = counters.witnessPackets ?? 0
        return seen - min(seen, counters.programCalls)
    }

    /// Dropped packets over all packets.
    package var droppedShare: Double {
        Double(counters.droppedPackets) / Double(max(1, counters.passedPackets + counters.droppedPackets))
    }
}

/// The group that a run shares a budget with.
package struct GroupReport: Sendable {
    package let name: String
    /// Rates of all its runs together.
    package let down: Rate
    package let up: Rate
    /// How many it has.
    package let runs: Int

    package init(name: String, rates: Rates, runs: Int) {
        self.name = name
        (down, up) = (rates.down, rates.up)
        self.runs = runs
    }
}

/// What a run did.
package struct Report: Sendable {
    /// What it is about.
    package struct Subject: Sendable {
        package let command: [String]
        package let name: String
        package let mode: Mode
        package let linger: Linger
        /// nil where the run wasn't limited at all.
        package var id: String?
        /// How meter and police were attached.
        package var method: AttachMethod?
        /// What ran before the run, in words; nil where that started a command.
        package var attachedTo: String?

        package init(command: [String], name: String, mode: Mode, linger: Linger) {
            (self.command, self.name, self.mode, self.linger) = (command, name, mode, linger)
        }
    }

    package var subject: Subject
    package var down: DirectionReport
    package var up: DirectionReport
    package let burst: TimeSpan
    /// How it gave way; nil where it doesn't.
    package var yielding: YieldState?
    /// What the run may use now.
    package var rates = Rates.unlimited
    /// What it may move in both directions together; nil: as much as it likes.
    package var quota: UInt64?
    /// Whether the command was ended as that was used up.
    package var isEndedByQuota = false
    /// What makes the network slow besides.
    package var impairment = Impairment.none
    /// What held the limits.
    package var planes: Set<Plane> = []
    package var planeCounters = PlaneCounters()
    /// Why downloads weren't shaped, where they were to be.
    package var obstacle: String?
    package var group: GroupReport?
    package var elapsedNanoseconds: UInt64 = 0
    /// nil while the command runs.
    package var outcome: Outcome?
    /// What was done without (--best-effort), in words.
    package var omission: String?
    /// Why nothing was limited (--best-effort), where set-up failed.
    package var setupFailure: String?
    /// Whether the command itself had left the run's cgroup by its end.
    package var hasMoved = false
    /// Processes that outlived the command, and what became of them.
    package var leftBehind = 0
    package var linger: Linger

    /// Of a run that was not limited, though it was to be.
    package init(_ subject: Subject, _ limits: Limits) {
        self.subject = subject
        down = DirectionReport(direction: .down, limit: limits.rates.down, counting: limits.counting)
        up = DirectionReport(direction: .up, limit: limits.rates.up, counting: limits.counting)
        burst = limits.burst
        linger = subject.linger
    }

    /// What a run did so far, and what is in force.
    package init(_ subject: Subject, _ memory: RunMemory, _ group: GroupReport?) {
        // Maybe others than at the start.
        let limits = memory.mostRates
        self.init(subject, Limits(limits, burst: memory.burst, counting: memory.counting))
        down.counters = memory.counters(.down)
        up.counters = memory.counters(.up)
        impairment = memory.impairment
        omission = memory.omission
        quota = memory.quota
        yielding = memory.yielding
        rates = memory.rates
        planes = limits == .unlimited && yielding == nil ? memory.planes : memory.planes.union([.police])
        planeCounters = memory.planeCounters
        obstacle = memory.obstacle
        self.group = group
    }

    /// What became of the limit of a direction of this report.
    package func verdict(_ direction: DirectionReport) -> Verdict {
        guard direction.limit != .unlimited else { return .unlimited }
        if subject.id == nil || hasMoved || direction.escapedPackets > 0 { return .notThrottled }
        if direction.counters.isAllExempt { return .exempt }
        // What was open before is paced evenly, and nothing counts that.
        let isPaced = subject.attachedTo != nil && planes.contains(.pace) && direction.ratio ?? 0 >= 0.9
        let isHeld =
            direction.direction == .down
            ? planeCounters.heldDownloads
            : planeCounters.heldUploads || direction.counters.deferredPackets > 0 || isPaced
        return isHeld || direction.counters.droppedPackets > 0 ? .throttled : .belowLimit
    }

    /// `outcome`: nil while the command runs.
    package mutating func end(_ outcome: Outcome?, after elapsedNanoseconds: UInt64) {
        self.outcome = outcome
        self.elapsedNanoseconds = elapsedNanoseconds
        down.average(over: elapsedNanoseconds)
        up.average(over: elapsedNanoseconds)
    }

    /// Why limits that were asked for didn't hold, with what to try; empty where they did.
    package var reasons: [String] {
        if let setupFailure { return [setupFailure] }
        let directions = [("download", down), ("upload", up)].filter { $0.1.limit != .unlimited || yielding != nil }
        if directions.isEmpty { return [] }
        let moved =
            "the command left the run's cgroup (as sudo, su and machinectl may make it): put throttle behind what"
            + " moves it, as in: sudo throttle run … --"
        return (hasMoved ? [moved] : []) + directions.compactMap { name, direction in direction.escape(of: name) }
    }

    /// All that went otherwise than one would expect.
    package var warnings: [String] {
        reasons + [omission].compactMap { $0 } + (linger == .release ? [leftBehindText].compactMap { $0 } : [])
    }

    /// What the command left behind, in words; nil where that is nothing.
    package var leftBehindText: String? {
        if leftBehind == 0 { return nil }
        let fate =
            switch linger {
            case .keep, .wait: "limited until they end"
            case .release: "not limited any more"
            case .kill: "which were killed"
            }
        return "the command left \(leftBehind) \(leftBehind == 1 ? "process" : "processes") running, \(fate)"
    }
}

extension DirectionReport {
    /// What the witness saw and the run's own program didn't, in words; nil where that is nothing.
    fileprivate func escape(of name: String) -> String? {
        if escapedPackets == 0 { return nil }
        let seen = Scaled(Double(counters.witnessBytes ?? 0), unit: "B")
        let own = counters.programCalls == 0 ? "none" : "only \(counters.programCalls)"
        return "\(name): \(counters.witnessPackets ?? 0) packets (\(seen)) reached the run's parent cgroup, but"
            + " \(own) of them its own program: processes moved out of the run's cgroup, or another tool detached"
            + " the program; look at bpftool cgroup tree"
    }
}
