import ArgumentParser
import Control
import Glibc
import Kernel
import Programs
import Reports
import Units

/// `throttle list`: the live runs.
struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List live runs: your own; root's list has everybody's.", aliases: ["ps"])

    @Flag(help: "Print one JSON object.")
    var json = false

    /// Between the two looks that a rate takes, in microseconds.
    private static let interval: UInt32 = 250_000

    func run() throws {
        let before = LiveRuns().all { Host.tell("throttle: \($0)\n") }
        if !before.isEmpty { usleep(ListCommand.interval) }
        let rows = before.isEmpty ? [] : LiveRuns().all().map { run in Row(run, before) }
        print(json ? document(rows) : table(rows))
    }

    func document(_ rows: [Row]) -> String {
        struct Document: Encodable {
            let schema = 1
            let runs: [Row]
        }
        return Units.json(Document(runs: rows))
    }

    private static let columns: [Table.Column] = [
        .init(title: "ID"), .init(title: "NAME", rank: 4), .init(title: "GROUP", rank: 6),
        .init(title: "AGE", isNumber: true, rank: 5),
        .init(title: "DOWN", isNumber: true), .init(title: "UP", isNumber: true),
        .init(title: "TOTAL DOWN", isNumber: true, rank: 3), .init(title: "TOTAL UP", isNumber: true, rank: 2),
        .init(title: "PLANES", rank: 1), .init(title: "COMMAND"),
    ]
    /// Only where some run has one that is slow besides its rate.
    private static let network = Table.Column(title: "NETWORK", rank: 0)

    func table(_ rows: [Row]) -> String {
        let isSlow = rows.contains { $0.network != "-" }
        let columns =
            ListCommand.columns.dropLast() + (isSlow ? [ListCommand.network] : []) + ListCommand.columns.suffix(1)
        let cells = rows.map { $0.cells.dropLast() + (isSlow ? [$0.network] : []) + $0.cells.suffix(1) }
        return Table(columns: Array(columns), rows: cells.map(Array.init)).text(
            width: Host.terminalSize(of: 1)?.columns)
    }

    /// A run, as it is listed.
    struct Row: Encodable {
        struct Direction: Encodable {
            let limit_bytes_per_second: UInt64?
            /// Neither, where the run doesn't answer.
            var bytes_per_second: Double?
            var total_bytes: UInt64?
        }

        let id: String
        let user: UInt32
        let name: String
        let group: String?
        let pid: Int32
        let command: [String]
        let age_seconds: Double
        let planes: [String]
        /// None of these, where the run doesn't answer.
        let rtt_seconds: Double?
        let jitter_seconds: Double?
        let loss_share: Double?
        let download: Direction
        let upload: Direction

        init(_ run: LiveRun, _ before: [LiveRun]) {
            let earlier = before.first { $0.id == run.id && $0.record == run.record }?.report
            func direction(
                _ path: KeyPath<ReportDocument, ReportDocument.Traffic>, _ asked: UInt64?
            ) -> Direction {
                guard let report = run.report else { return Direction(limit_bytes_per_second: asked) }
                let bytes: KeyPath<ReportDocument, UInt64> =
                    report.count == "wire"
                    ? path.appending(path: \.passed_wire_bytes) : path.appending(path: \.passed_payload_bytes)
                let total = report[keyPath: bytes]
                let passed = total - min(total, earlier?[keyPath: bytes] ?? 0)
                let seconds = report.elapsed_seconds - (earlier?.elapsed_seconds ?? 0)
                return Direction(
                    limit_bytes_per_second: report[keyPath: path].limit_bytes_per_second,
                    bytes_per_second: Double(passed) / max(seconds, 0.001), total_bytes: total)
            }
            id = run.id
            user = run.user
            name = run.record.name
            group = run.record.group
            pid = run.record.pid
            command = run.record.command
            age_seconds = run.report?.elapsed_seconds ?? Double(max(0, time(nil) - run.record.started))
            planes = run.report?.planes ?? []
            rtt_seconds = run.report?.rtt_seconds
            jitter_seconds = run.report?.jitter_seconds
            loss_share = run.report?.loss_share
            download = direction(\.download, run.record.down)
            upload = direction(\.upload, run.record.up)
        }

        var cells: [String] {
            [
                id, name.printable, group ?? "-", age, rate(download), rate(upload),
                total(download), total(upload), planes.isEmpty ? "-" : planes.joined(separator: "+"),
                command.joined(separator: " ").printable,
            ]
        }

        var network: String {
            let slow = Impairment(rtt: rtt_seconds ?? 0, jitter: jitter_seconds ?? 0, loss: loss_share ?? 0)
            return slow == .none ? "-" : "\(slow)"
        }

        private var age: String {
            let seconds = Int(age_seconds)
            return seconds < 60
                ? "\(seconds)s"
                : seconds < 3600 ? "\(seconds / 60)m\(seconds % 60)s" : "\(seconds / 3600)h\(seconds / 60 % 60)m"
        }

        private func total(_ direction: Direction) -> String {
            direction.total_bytes.map { "\(Scaled(Double($0), unit: "B"))" } ?? "-"
        }

        private func rate(_ direction: Direction) -> String {
            guard let rate = direction.bytes_per_second else { return "-" }
            guard let limit = direction.limit_bytes_per_second else { return "\(Scaled(rate, unit: "B/s"))" }
            return "\(Scaled(rate, of: Double(limit), unit: "B/s"))"
        }
    }
}
