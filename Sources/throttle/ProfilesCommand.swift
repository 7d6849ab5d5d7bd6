import ArgumentParser
import Kernel
import Units

/// `throttle profiles`: the networks that `--profile` knows.
struct ProfilesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profiles", abstract: "List the networks that --profile knows.",
        discussion: "Your own are in ~/.config/throttle/profiles, the system's in /etc/throttle/profiles.")

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(help: ArgumentHelp("Print their names.", visibility: .hidden))
    var names = false

    func run() throws {
        let profiles = try Profiles.all()
        if names { return profiles.forEach { print($0.name) } }
        print(json ? Units.json(Document(profiles: profiles.map(Row.init))) : ProfilesCommand.table(profiles))
    }

    private static let columns: [Table.Column] = [
        .init(title: "NAME"), .init(title: "DOWN", isNumber: true), .init(title: "UP", isNumber: true),
        .init(title: "RTT", isNumber: true), .init(title: "JITTER", isNumber: true, rank: 2),
        .init(title: "LOSS", isNumber: true, rank: 3), .init(title: "SOURCE", rank: 1),
    ]

    static func table(_ profiles: [Profile]) -> String {
        let rows = profiles.map(cells)
        return Table(columns: columns, rows: rows).text(width: Host.terminalSize(of: 1)?.columns)
    }

    private static func cells(_ profile: Profile) -> [String] {
        func cell(_ value: some CustomStringConvertible, if isThere: Bool) -> String { isThere ? "\(value)" : "-" }
        let slow = profile.impairment
        return [
            profile.name, profile.down.map { "\($0)" } ?? "-", profile.up.map { "\($0)" } ?? "-",
            cell(slow.rtt, if: slow.isDelayed), cell(slow.jitter, if: slow.jitter.nanoseconds > 0),
            cell(slow.loss, if: slow.loss != .zero), profile.source.printable,
        ]
    }

    private struct Document: Encodable {
        let schema = 1
        let profiles: [Row]
    }

    private struct Row: Encodable {
        let name: String
        let download_limit_bytes_per_second: UInt64?
        let upload_limit_bytes_per_second: UInt64?
        let rtt_seconds: Double
        let jitter_seconds: Double
        let loss_share: Double
        let source: String

        init(_ profile: Profile) {
            name = profile.name
            download_limit_bytes_per_second = profile.down?.bytesPerSecond
            upload_limit_bytes_per_second = profile.up?.bytesPerSecond
            rtt_seconds = profile.impairment.rtt.seconds
            jitter_seconds = profile.impairment.jitter.seconds
            loss_share = profile.impairment.loss.share
            source = profile.source
        }
    }
}
