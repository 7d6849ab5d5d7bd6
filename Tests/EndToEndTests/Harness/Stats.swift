import Foundation

/// What `--stats=json` says, as far as the tests read it.
struct Stats: Decodable {
    struct Traffic: Decodable {
        let limit_bytes_per_second: UInt64?
        let achieved_bytes_per_second: Double
        let achieved_ratio: Double?
        let verdict: String
        let program_calls: Int
        let passed_packets: Int
        let passed_payload_bytes: Int
        let passed_wire_bytes: Int
        let dropped_packets: Int
        let exempt_packets: Int
        let exempt_bytes: Int
        let lost_packets: Int?
        let witness_packets: Int?
        let witness_bytes: Int?
        let clamped_sockets: Int?
        let queue_delay_average_seconds: Double?
        let queue_delay_maximum_seconds: Double?
        let queue_dropped_packets: Int?
        let paced_sockets: Int?
        let deferred_packets: Int?
        let retransmitted_segments: Int?
    }

    struct Background: Decodable {
        let download_bytes_per_second: Double?
        let upload_bytes_per_second: Double?
        let download_yields: Int
        let upload_yields: Int
        let base_seconds: Double
    }

    struct Group: Decodable {
        let name: String
        let runs: Int
        let download_limit_bytes_per_second: UInt64?
        let upload_limit_bytes_per_second: UInt64?
    }

    let schema: Int
    let id: String?
    let name: String
    let command: [String]
    let exit_status: Int?
    let exit_signal: Int?
    let exec_errno: Int?
    let elapsed_seconds: Double
    let mode: String
    let planes: [String]
    let shape_obstacle: String?
    let attach_method: String?
    let attached_to: String?
    let count: String
    let rtt_seconds: Double?
    let loss_share: Double?
    let quota_bytes: Int?
    let quota_used_bytes: Int?
    let ended_by_quota: Bool?
    let background: Background?
    let not_throttled: Bool
    let left_behind: Int
    let linger: String
    let warnings: [String]
    let group: Group?
    let download: Traffic
    let upload: Traffic

    /// Reads the one object that `text` must be.
    init(_ text: String) throws {
        do {
            self = try JSONDecoder().decode(Stats.self, from: Data(text.utf8))
        } catch {
            throw HarnessError("not the report: \(error): \(text)")
        }
    }
}

extension Lab {
    /// The report that a run wrote to this file in our folder.
    func stats(_ name: String = "stats") throws -> Stats {
        try Stats(String(decoding: content(name), as: UTF8.self))
    }
}
