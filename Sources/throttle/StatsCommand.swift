import ArgumentParser
import Control
import Glibc
import Reports

/// `throttle stats`: one run in full.
struct StatsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats", abstract: "Report on a live run, as --stats does at a run's end.")

    @Argument(help: runHelp)
    var id: String

    @Flag(name: .shortAndLong, help: "Again each second, until the run ends.")
    var watch = false

    @Flag(help: "Print JSON: one object in a line for each report.")
    var json = false

    func run() throws {
        let place = try LiveRuns().find(id)
        var text = try place.report(asText: !json)
        // A terminal shows the newest report only.
        let isRedrawn = watch && !json && isatty(1) == 1
        while true {
            print((isRedrawn ? "\u{1b}[H\u{1b}[2J" : "") + text, terminator: "")
            fflush(nil)
            guard watch else { return }
            sleep(1)
            guard let next = try? place.report(asText: !json) else { return }
            text = next
        }
    }
}
