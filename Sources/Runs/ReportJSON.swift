import Commands
import Programs
import Units

extension Report {
    /// The report as one JSON object in one line; throttle-run(1) has the schema.
    public var json: String {
        Units.json(Document(self))
    }

    /// The schema. Units are in the key names; `schema` grows when a key changes its meaning or goes.
    private struct Document: Encodable {
        let schema = 1
        let id: String?
        let name: String
        let command: [String]
        let exit_status: Int32?
        let exit_signal: Int32?
        let exec_errno: Int32?
        let elapsed_seconds: Double
        let mode: String
        let planes: [String]
        let shape_obstacle: String?
        let attach_method: String?
        let count: String
        let burst_seconds: Double
        let not_throttled: Bool
        let left_behind: Int
        let linger: String
        let warnings: [String]
        let group: Group?
        let download: Traffic
        let upload: Traffic

        init(_ report: Report) {
            id = report.id
            name = report.name
            command = report.command
            var status: Int32?
            var signal: Int32?
            var errno: Int32?
            switch report.outcome {
            case .exited(let code): status = code
            case .killed(let number): signal = number
            case .notExecuted(let error): errno = error.rawValue
            case nil: break
            }
            exit_status = status
            exit_signal = signal
            exec_errno = errno
            elapsed_seconds = Double(report.elapsedNanoseconds) / 1e9
            mode = report.mode.rawValue
            planes = report.planes.map(\.rawValue).sorted()
            shape_obstacle = report.obstacle
            attach_method = report.method?.rawValue
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
    }

    private struct Group: Encodable {
        let name: String
        let runs: Int
        let download_limit_bytes_per_second: UInt64?
        let upload_limit_bytes_per_second: UInt64?

        init(_ group: GroupReport) {
            name = group.name
            runs = group.runs
            download_limit_bytes_per_second = group.down.bytesPerSecond
            upload_limit_bytes_per_second = group.up.bytesPerSecond
        }
    }

    private struct Traffic: Encodable {
        let limit_bytes_per_second: UInt64?
        let achieved_bytes_per_second: Double
        let achieved_ratio: Double?
        let verdict: Verdict
        let averaged_seconds: Double
        let program_calls: UInt64
        let passed_packets: UInt64
        let passed_payload_bytes: UInt64
        let passed_wire_bytes: UInt64
        let dropped_packets: UInt64
        let dropped_payload_bytes: UInt64
        let dropped_packet_share: Double
        let exempt_packets: UInt64
        let exempt_bytes: UInt64
        let witness_packets: UInt64?
        let witness_bytes: UInt64?
        // Of downloads.
        let clamped_sockets: UInt32?
        let queue_delay_average_seconds: Double?
        let queue_delay_maximum_seconds: Double?
        let queue_dropped_packets: UInt64?
        // Of uploads.
        let paced_sockets: UInt32?
        let deferred_packets: UInt64?
        let retransmitted_segments: UInt64?

        init(_ direction: DirectionReport, _ verdict: Verdict, _ planes: PlaneCounters) {
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
}
