import ArgumentParser
import Commands
import Glibc

/// The command line as a whole.
struct Throttle: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "throttle",
        abstract: "Run a command with limited bandwidth, as nice limits its CPU.",
        version: version,
        subcommands: [RunCommand.self])
}

@main
enum Main {
    /// Our own failures, usage errors among them, as env(1), nice(1) and timeout(1) have it.
    static let failure: CInt = 125

    static func main() {
        // Nothing that must be undone lives here: exit() wouldn't run its deinit.
        exit(status(of: Array(CommandLine.arguments.dropFirst())))
    }

    private static func status(of words: [String]) -> CInt {
        do {
            var command = try Throttle.parseAsRoot(normalized(words))
            guard let run = command as? RunCommand else {
                try command.run()
                return 0
            }
            return try run.execute().relay()
        } catch {
            let text = Throttle.fullMessage(for: error)
            guard Throttle.exitCode(for: error) != .success else {
                print(text)
                return 0
            }
            OutputFile.standardError(message(for: error, text))
            return failure
        }
    }

    /// `run` is the default, and a bare `--stats` stands for `--stats=text`.
    private static func normalized(_ words: [String]) -> [String] {
        let subcommands = ["run", "help", "-h", "--help", "--version", "--generate-completion-script"]
        let named = words.first.map { word in subcommands.contains { word == $0 || word.hasPrefix($0 + "=") } }
        return (named ?? true ? [] : ["run"]) + words.map { $0 == "--stats" ? "--stats=\(ReportFormat.bareMark)" : $0 }
    }

    private static func message(for error: any Error, _ text: String) -> String {
        Throttle.exitCode(for: error) == .validationFailure ? "throttle: \(text)\n" : "throttle: \(error)\n"
    }
}
