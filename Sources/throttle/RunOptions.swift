import ArgumentParser
import Kernel
import Logging
import Programs
import Reports
import Runs
import Units

/// What `run` limits, and to what.
struct LimitOptions: ParsableArguments {
    @Option(rate: "d", "Limit downloads (default: $THROTTLE_DOWN).")
    var down: Rate?

    @Option(rate: "u", "Limit uploads (default: $THROTTLE_UP).")
    var up: Rate?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Unused time to catch up on, 1ms to 60s (default: 200ms).", valueName: "time"),
        transform: { try LimitOptions.burst($0) })
    var burst = RunPlan().burst

    @Option(help: "What a limit counts.")
    var count = Counting.payload

    @Option(group: "Share one budget with all runs of this group (default: $THROTTLE_GROUP).")
    var group: GroupName?

    /// Both limits, with the environment's defaults.
    func rates() throws -> Rates {
        let down = try down ?? LimitOptions.fromEnvironment("THROTTLE_DOWN")
        let up = try up ?? LimitOptions.fromEnvironment("THROTTLE_UP")
        if try down == nil && up == nil && groupName() == nil {
            throw noLimit
        }
        return Rates(down: down ?? .unlimited, up: up ?? .unlimited)
    }

    func groupName() throws -> String? {
        try (group ?? Host.variable("THROTTLE_GROUP").map { try GroupName($0) })?.text
    }

    private static func fromEnvironment(_ variable: String) throws -> Rate? {
        guard let value = Host.variable(variable) else { return nil }
        do {
            return try Rate(value)
        } catch {
            throw ValidationError("\(variable): \(error)")
        }
    }

    private static func burst(_ text: String) throws -> TimeSpan {
        let burst = try valid(text, TimeSpan.init)
        guard (1_000_000...60_000_000_000).contains(burst.nanoseconds) else {
            throw ValidationError("'\(text)' is out of range: a burst is 1ms to 60s")
        }
        return burst
    }
}

/// How `run` sets a run up, and as whom.
struct SetupOptions: ParsableArguments {
    @Option(help: "How downloads are limited.")
    var mode = Mode.auto

    @Option(help: "What happens to processes that outlive the command.")
    var linger = Linger.keep

    @Option(help: "How programs are attached.")
    var attach = AttachChoice.auto

    @Option(
        help: ArgumentHelp("Make the run's cgroup below this one (default: the caller's).", valueName: "directory"),
        completion: .directory)
    var cgroupParent: String?

    @Option(
        help: ArgumentHelp("A name for the run in reports.", valueName: "name"),
        transform: { try SetupOptions.name($0) })
    var name: String?

    @Option(
        help: ArgumentHelp(
            "Run the command as this user: a name or UID of /etc/passwd, or UID:GID.", valueName: "user"))
    var user: String?

    @Flag(help: "Run in a cgroup that systemd delegates to you (systemd-run).")
    var systemd = false

    @Flag(help: "Run without limits, with a warning, where they can't be set up.")
    var bestEffort = false

    private static func name(_ text: String) throws -> String {
        guard text.isPlainName else {
            throw ValidationError("'\(text)' is not a name: use 1 to 64 letters, digits, '.', '_' and '-'")
        }
        return text
    }
}

/// How a report looks.
enum ReportFormat: String, CaseIterable, ExpressibleByArgument {
    case text, json

    /// What main puts behind a bare --stats; no word on a command line can hold a NUL.
    static let bareMark = "\0"

    init?(argument: String) {
        self.init(rawValue: argument == ReportFormat.bareMark ? "text" : argument)
    }
}

/// What `run` says, and where.
struct ReportingOptions: ParsableArguments {
    @Flag(help: "Show how far the run is, on standard error.")
    var progress = false

    @Option(
        help: ArgumentHelp("Report at the end, on standard error. Also just --stats.", valueName: "text|json"))
    var stats: ReportFormat?

    @Option(help: ArgumentHelp("Write the report to this file.", valueName: "path"), completion: .file())
    var statsFile: String?

    @Flag(name: .shortAndLong, help: "Say what was chosen and why, and report at the end.")
    var verbose = false

    @Flag(help: "Like --verbose, and log every attachment and detachment.")
    var debug = false

    @Flag(name: .shortAndLong, help: "No warnings, only errors.")
    var quiet = false

    func validate() throws {
        if quiet && (verbose || debug) { throw ValidationError("--quiet can't be combined with --verbose or --debug") }
    }

    var logLevel: Logger.Level {
        debug ? .debug : verbose ? .info : quiet ? .error : .warning
    }

    /// Opens --stats-file before anything else happens, so that a bad path stops the run.
    func openOutput() throws -> OutputFile? {
        guard let path = statsFile else { return nil }
        return try OutputFile(path)
    }

    /// Writes the report where it was asked for. A run whose limit didn't hold says so in any case.
    func publish(_ report: Report, to file: borrowing OutputFile?, _ log: Logger) {
        let text = stats == .json ? report.json : report.text
        let isOnStandardError = stats != nil && statsFile == nil
        switch file {
        case .some(let file):
            do {
                try file.replace(with: text + "\n")
            } catch {
                // The command's status is worth more than ours, which would hide it.
                log.error("\(error)")
            }
        case nil where isOnStandardError && stats == .json: Host.tell(text + "\n", isLast: true)
        case nil: break
        }
        if verbose || debug || (isOnStandardError && stats == .text) {
            log.lines(report.text)
        } else if !isOnStandardError, report.setupFailure == nil, let reason = report.reasons.first {
            log.lines("NOT THROTTLED: \(reason.printable)")
        }
    }
}

extension Counting: ExpressibleByArgument {}
extension AttachChoice: ExpressibleByArgument {}
extension Mode: ExpressibleByArgument {}
extension Linger: ExpressibleByArgument {}
