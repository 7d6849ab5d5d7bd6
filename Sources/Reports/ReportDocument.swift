import Programs
import Units

extension Report {
    /// The report as one JSON object in one line; throttle-run(1) has the schema.
    package var json: String { Units.json(ReportDocument(self)) }
}

/// A report, as it is written and as a live run answers it. Units are in the key names; `schema` grows when a key changes
/// its meaning or goes.
package struct ReportDocument: Codable, Sendable {
    package let schema: Int
    package let id: String?
    package let name: String
    package let command: [String]
    package let exit_status: Int32?
    package let exit_signal: Int32?
    package let exec_errno: Int32?
    package let elapsed_seconds: Double
    package let mode: String
    package let planes: [String]
    package let shape_obstacle: String?
    package let attach_method: String?
    package let attached_to: String?
    package let count: String
    package let burst_seconds: Double
    package let not_throttled: Bool
    package let left_behind: Int
    package let linger: String
    package let warnings: [String]
    package let group: Group?
    // Of a network that is slow besides its rate; an older run's guard doesn't tell.
    package let rtt_seconds: Double?
    package let jitter_seconds: Double?
    package let loss_share: Double?
    package let background: Background?
    package let quota_bytes: UInt64?
    package let quota_used_bytes: UInt64?
    package let ended_by_quota: Bool?
    package let download: Traffic
    package let upload: Traffic

    package struct Group: Codable, Sendable {
        package let name: String
        package let runs: Int
        package let download_limit_bytes_per_second: UInt64?
        package let upload_limit_bytes_per_second: UInt64?
    }

    /// How a run gives way.
    package struct Background: Codable, Sendable {
        /// What it may use now.
        package let download_bytes_per_second: UInt64?
        package let upload_bytes_per_second: UInt64?
        package let download_away: Bool
        package let upload_away: Bool
        package let download_yields: UInt32
        package let upload_yields: UInt32
        package let base_seconds: Double
        package let queueing_seconds: Double
    }

    /// One direction.
    package struct Traffic: Codable, Sendable {
        package let limit_bytes_per_second: UInt64?
        package let achieved_bytes_per_second: Double
        package let achieved_ratio: Double?
        package let verdict: Verdict
        package let averaged_seconds: Double
        package let program_calls: UInt64
        package let passed_packets: UInt64
        package let passed_payload_bytes: UInt64
        package let passed_wire_bytes: UInt64
        package let dropped_packets: UInt64
        package let dropped_payload_bytes: UInt64
        package let dropped_packet_share: Double
        package let exempt_packets: UInt64
        package let exempt_bytes: UInt64
        package let lost_packets: UInt64?
        package let witness_packets: UInt64?
        package let witness_bytes: UInt64?
        // An older run's guard doesn't tell them of uploads.
        package let queue_delay_average_seconds: Double?
        package let queue_delay_maximum_seconds: Double?
        package let queue_dropped_packets: UInt64?
        // Of downloads.
        package let clamped_sockets: UInt32?
        // Of uploads.
        package let paced_sockets: UInt32?
        package let deferred_packets: UInt64?
        package let retransmitted_segments: UInt64?
    }
}

extension ReportDocument {
    init(_ report: Report) {
        schema = 1
        id = report.subject.id
        name = report.subject.name
        command = report.subject.command
        (exit_status, exit_signal, exec_errno) =
            switch report.outcome {
            case .exited(let code): (code, nil, nil)
            case .killed(let number): (nil, number, nil)
            case .notExecuted(let error): (nil, nil, error.rawValue)
            case nil: (nil, nil, nil)
            }
        elapsed_seconds = Double(report.elapsedNanoseconds) / 1e9
        mode = report.subject.mode.rawValue
        planes = report.planes.map(\.rawValue).sorted()
        shape_obstacle = report.obstacle
        attach_method = report.subject.method?.rawValue
        attached_to = report.subject.attachedTo
        count = report.down.counting.rawValue
        burst_seconds = report.burst.seconds
        not_throttled = !report.reasons.isEmpty
        left_behind = report.leftBehind
        linger = report.linger.rawValue
        warnings = report.warnings
        group = report.group.map(Group.init)
        rtt_seconds = report.impairment.rtt.seconds
        jitter_seconds = report.impairment.jitter.seconds
        loss_share = report.impairment.loss.share
        background = report.yielding.map { Background($0, report.rates) }
        quota_bytes = report.quota
        quota_used_bytes = report.quota.map { _ in report.down.passedBytes + report.up.passedBytes }
        ended_by_quota = report.quota.map { _ in report.isEndedByQuota }
        download = Traffic(report.down, report)
        upload = Traffic(report.up, report)
    }

    /// nil where that is no run's report: the run's user may have made it up.
    package init?(decoding bytes: [UInt8]) {
        guard let report: ReportDocument = decoded(bytes), report.isPlausible else { return nil }
        self = report
    }

    private var isPlausible: Bool {
        let limits = [
            download.limit_bytes_per_second, upload.limit_bytes_per_second,
            group?.download_limit_bytes_per_second, group?.upload_limit_bytes_per_second,
        ]
        return (0...1e10).contains(elapsed_seconds) && planes.allSatisfy(\.isPlainName)
            && Counting(rawValue: count) != nil && group?.name.isPlainName != false
            && limits.allSatisfy { (1...UInt64(Int64.max)).contains($0 ?? 1) }
    }
}

extension ReportDocument.Group {
    fileprivate init(_ group: GroupReport) {
        name = group.name
        runs = group.runs
        download_limit_bytes_per_second = group.down.bytesPerSecond
        upload_limit_bytes_per_second = group.up.bytesPerSecond
    }
}

extension ReportDocument.Background {
    fileprivate init(_ yielding: YieldState, _ rates: Rates) {
        download_bytes_per_second = rates.down.bytesPerSecond
        upload_bytes_per_second = rates.up.bytesPerSecond
        (download_away, upload_away) = (yielding.isAway[0], yielding.isAway[1])
        (download_yields, upload_yields) = (yielding.yields[0], yielding.yields[1])
        base_seconds = Double(yielding.base) / 1e6
        queueing_seconds = Double(yielding.queueing) / 1e6
    }
}

extension ReportDocument.Traffic {
    fileprivate init(_ direction: DirectionReport, _ report: Report) {
        let isDownload = direction.direction == .down
        let planes = report.planeCounters
        let queue = planes.queue(direction.direction)
        clamped_sockets = isDownload ? planes.clampedSockets : nil
        queue_delay_average_seconds = Double(queue.delayAverageNanoseconds) / 1e9
        queue_delay_maximum_seconds = Double(queue.delayMaximumNanoseconds) / 1e9
        queue_dropped_packets = queue.droppedPackets
        paced_sockets = isDownload ? nil : planes.pacedSockets
        deferred_packets = isDownload ? nil : direction.counters.deferredPackets
        retransmitted_segments = isDownload ? nil : planes.retransmittedSegments
        let counters = direction.counters
        limit_bytes_per_second = direction.limit.bytesPerSecond
        achieved_bytes_per_second = direction.achieved
        achieved_ratio = direction.ratio
        verdict = report.verdict(direction)
        averaged_seconds = direction.averagedSeconds
        program_calls = counters.programCalls
        passed_packets = counters.passedPackets
        passed_payload_bytes = counters.passedPayloadBytes
        passed_wire_bytes = counters.passedWireBytes
        dropped_packets = counters.droppedPackets
        dropped_payload_bytes = counters.droppedPayloadBytes
        dropped_packet_share = direction.droppedShare
        exempt_packets = counters.exemptPackets
        exempt_bytes = counters.exemptBytes
        lost_packets = counters.lostPackets
        witness_packets = counters.witnessPackets
        witness_bytes = counters.witnessBytes
    }
}
