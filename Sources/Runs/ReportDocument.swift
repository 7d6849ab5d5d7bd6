import Commands
import Programs
import Units

extension Report {
    /// The report as one JSON object in one line; throttle-run(1) has the schema.
    public var json: String { Units.json(ReportDocument(self)) }
}

/// A report, as it is written and as a live run answers it. Units are in the key names; `schema` grows when a key changes
/// its meaning or goes.
public struct ReportDocument: Codable, Sendable {
    public let schema: Int
    public let id: String?
    public let name: String
    public let command: [String]
    public let exit_status: Int32?
    public let exit_signal: Int32?
    public let exec_errno: Int32?
    public let elapsed_seconds: Double
    public let mode: String
    public let planes: [String]
    public let shape_obstacle: String?
    public let attach_method: String?
    public let count: String
    public let burst_seconds: Double
    public let not_throttled: Bool
    public let left_behind: Int
    public let linger: String
    public let warnings: [String]
    public let group: Group?
    public let download: Traffic
    public let upload: Traffic

    public struct Group: Codable, Sendable {
        public let name: String
        public let runs: Int
        public let download_limit_bytes_per_second: UInt64?
        public let upload_limit_bytes_per_second: UInt64?
    }

    /// One direction.
    public struct Traffic: Codable, Sendable {
        public let limit_bytes_per_second: UInt64?
        public let achieved_bytes_per_second: Double
        public let achieved_ratio: Double?
        public let verdict: Verdict
        public let averaged_seconds: Double
        public let program_calls: UInt64
        public let passed_packets: UInt64
        public let passed_payload_bytes: UInt64
        public let passed_wire_bytes: UInt64
        public let dropped_packets: UInt64
        public let dropped_payload_bytes: UInt64
        public let dropped_packet_share: Double
        public let exempt_packets: UInt64
        public let exempt_bytes: UInt64
        public let witness_packets: UInt64?
        public let witness_bytes: UInt64?
        // Of downloads.
        public let clamped_sockets: UInt32?
        public let queue_delay_average_seconds: Double?
        public let queue_delay_maximum_seconds: Double?
        public let queue_dropped_packets: UInt64?
        // Of uploads.
        public let paced_sockets: UInt32?
        public let deferred_packets: UInt64?
        public let retransmitted_segments: UInt64?
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
        count = report.down.counting.rawValue
        burst_seconds = report.burst.seconds
        not_throttled = !report.reasons.isEmpty
        left_behind = report.leftBehind
        linger = report.linger.rawValue
        warnings = report.warnings
        group = report.group.map(Group.init)
        download = Traffic(report.down, report.verdict(report.down), report.planeCounters)
        upload = Traffic(report.up, report.verdict(report.up), report.planeCounters)
    }

    /// nil where that is no run's report: the run's user may have made it up.
    public init?(decoding bytes: [UInt8]) {
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

extension ReportDocument.Traffic {
    fileprivate init(_ direction: DirectionReport, _ verdict: Verdict, _ planes: PlaneCounters) {
        let isDownload = direction.direction == .down
        clamped_sockets = isDownload ? planes.clampedSockets : nil
        queue_delay_average_seconds = isDownload ? Double(planes.queueDelayAverageNanoseconds) / 1e9 : nil
        queue_delay_maximum_seconds = isDownload ? Double(planes.queueDelayMaximumNanoseconds) / 1e9 : nil
        queue_dropped_packets = isDownload ? planes.queueDroppedPackets : nil
        paced_sockets = isDownload ? nil : planes.pacedSockets
        deferred_packets = isDownload ? nil : direction.counters.deferredPackets
        retransmitted_segments = isDownload ? nil : planes.retransmittedSegments
        let counters = direction.counters
        limit_bytes_per_second = direction.limit.bytesPerSecond
        achieved_bytes_per_second = direction.achieved
        achieved_ratio = direction.ratio
        self.verdict = verdict
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
        witness_packets = counters.witnessPackets
        witness_bytes = counters.witnessBytes
    }
}
