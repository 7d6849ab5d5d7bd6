import ArgumentParser
import Glibc
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

    @Flag(help: "Take only what nobody else wants; a limit is the most of it.")
    var background = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "End the command once it has moved so much, both ways together, such as 500M.", valueName: "bytes"),
        transform: { try valid($0, ByteCount.init).bytes })
    var quota: UInt64?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Kill it where it goes on for so long after that.", valueName: "time"),
        transform: { try valid($0, TimeSpan.init) })
    var killAfter: TimeSpan?

    @Option(group: "Share one budget with all runs of this group (default: $THROTTLE_GROUP).")
    var group: GroupName?

    func validate() throws {
        if killAfter != nil && quota == nil { throw ValidationError("--kill-after goes with --quota.") }
    }

    /// Both limits, with a profile's and the environment's defaults. `isEnough`: whether there is something else to do.
    func rates(beside profile: Profile? = nil, isEnough: Bool = false) throws -> Rates {
        let down = try down ?? profile?.down ?? LimitOptions.fromEnvironment("THROTTLE_DOWN")
        let up = try up ?? profile?.up ?? LimitOptions.fromEnvironment("THROTTLE_UP")
        if try down == nil && up == nil && groupName() == nil && !isEnough {
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

/// What `run` limits instead of a command.
struct TargetOptions: ParsableArguments {
    @Option(
        name: [.customLong("pid"), .customShort("p", allowingJoined: true)], parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "Limit this process, and what it has started, instead of a command; also several.", valueName: "pid"),
        transform: { try TargetOptions.process($0) })
    var processes: [Int32] = []

    @Option(
        help: ArgumentHelp("Limit all that is in this cgroup.", valueName: "directory"), completion: .directory)
    var cgroup: String?

    @Option(help: ArgumentHelp("Limit this unit of systemd's.", valueName: "name"))
    var unit: String?

    @Option(help: ArgumentHelp("Limit this unit of your own systemd's.", valueName: "name"))
    var userUnit: String?

    @Option(
        name: .customLong("for"),
        help: ArgumentHelp("Limit it for so long, such as 10m (default: until it ends).", valueName: "time"),
        transform: { try TargetOptions.duration($0) })
    var duration: TimeSpan?

    func validate() throws {
        if duration != nil && value == .command {
            throw ValidationError("--for goes with what runs already; a command is ended by timeout(1)")
        }
        if [!processes.isEmpty, cgroup != nil, unit != nil, userUnit != nil].count(where: { $0 }) > 1 {
            throw ValidationError("Give one of -p, --cgroup, --unit and --user-unit.")
        }
        if let name = unit ?? userUnit, name.isEmpty || name.contains("/") || name.hasPrefix(".") {
            throw ValidationError("'\(name)' is not the name of a unit")
        }
    }

    var value: Target {
        if !processes.isEmpty { return .processes(processes) }
        if let cgroup { return .cgroup(cgroup.absolutePath) }
        return unit.map { .unit($0, isUsers: false) } ?? userUnit.map { .unit($0, isUsers: true) } ?? .command
    }

    private static func process(_ text: String) throws -> Int32 {
        guard let pid = Int32(text), pid > 0 else { throw ValidationError("'\(text)' is not a process ID") }
        return pid
    }

    private static func duration(_ text: String) throws -> TimeSpan {
        let duration = try valid(text, TimeSpan.init)
        if duration.nanoseconds == 0 { throw ValidationError("'\(text)' is no time at all") }
        return duration
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

    /// One that was given and that only a command has a use for.
    var forCommand: String? {
        let given = [
            ("--user", user != nil), ("--systemd", systemd), ("--best-effort", bestEffort),
            ("--cgroup-parent", cgroupParent != nil), ("--linger", linger != .keep),
            ("--attach legacy", attach == .legacy),
        ]
        return given.first { $0.1 }?.0
    }

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

extension String {
    /// As a path from the root: the guard isn't where we are.
    fileprivate var absolutePath: String {
        guard !hasPrefix("/"), let folder = getcwd(nil, 0) else { return self }
        defer { free(folder) }
        return String(cString: folder) + "/" + self
    }
}
