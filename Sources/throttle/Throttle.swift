import ArgumentParser
import Glibc
import Kernel
import Units

/// The command line as a whole.
struct Throttle: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "throttle",
        abstract: "Limit the bandwidth of a command, as nice limits its CPU.",
        usage: "throttle [run] [--down RATE] [--up RATE] [options] [--] COMMAND [ARGUMENT ...]",
        version: version,
        subcommands: [
            RunCommand.self, ListCommand.self, StatsCommand.self, SetCommand.self, GroupCommand.self,
            ProfilesCommand.self, CleanupCommand.self, DoctorCommand.self,
        ],
        defaultSubcommand: RunCommand.self)
}

@main
enum Main {
    /// Our own failures, usage errors among them, as env(1), nice(1) and timeout(1) have it.
    static let failure: CInt = 125

    /// All but `run`.
    private static let subcommands = Throttle.configuration.subcommands.dropFirst().flatMap { command in
        [command.configuration.commandName ?? ""] + command.configuration.aliases
    }

    static func main() {
        // Nothing that must be undone lives here: exit() wouldn't run its deinit.
        exit(status(of: Array(CommandLine.arguments.dropFirst())))
    }

    private static func status(of words: [String]) -> CInt {
        let words = normalized(words)
        do {
            // Past the root command, which would cost the parser another half a millisecond.
            if words.first == "run" { return try RunCommand.parse(Array(words.dropFirst())).execute().relay() }
            var command = try Throttle.parseAsRoot(words)
            try command.run()
            return 0
        } catch {
            if let code = error as? ExitCode { return code.rawValue }
            guard Throttle.exitCode(for: error) != .success else {
                print(Throttle.fullMessage(for: error))
                return 0
            }
            Host.tell(
                complaint(about: error, of: words.first.flatMap { subcommands.contains($0) ? $0 : nil } ?? "run"),
                isLast: true)
            return failure
        }
    }

    /// The line that tells of a failure.
    static func complaint(about error: any Error, of command: String = "run") -> String {
        let hint = Throttle.exitCode(for: error) == .validationFailure ? " (see throttle \(command) --help)" : ""
        return "throttle: \(Throttle.message(for: error).printable)\(hint)\n"
    }

    /// `run` is the default, and a bare `--stats` stands for `--stats=text`.
    static func normalized(_ words: [String]) -> [String] {
        let completions = "--generate-completion-script"
        let others = ["run"] + subcommands + ["help", "-h", "--help", "--version", completions]
        let isRun = !words.prefix(1).contains { others.contains($0) || $0.hasPrefix(completions + "=") }
        return (isRun ? ["run"] : [])
            + words.map { $0 == "--stats" ? "--stats=\(ReportFormat.bareMark)" : $0 }
    }
}
