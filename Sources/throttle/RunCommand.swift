import ArgumentParser
import Logging
import Processes
import Runs

/// `throttle run`: the options, and what becomes of them.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a command with limited bandwidth.",
        usage: "throttle [run] [--down RATE] [--up RATE] [options] [--] COMMAND [ARGUMENT ...] | -p PID | --unit NAME",
        discussion: """
            RATE is in bytes per second (50k, 1.5M, 512KiB/s), in bits (800kbit), or 'unlimited'. The exit \
            status is the command's own; 125: throttle itself failed, 126: the command can't be executed, \
            127: it wasn't found.
            """)

    @OptionGroup(title: "Limits") var limits: LimitOptions
    @OptionGroup(title: "A slow network") var slow: SlowNetworkOptions
    @OptionGroup(title: "What runs already") var target: TargetOptions
    @OptionGroup(title: "Peers") var peers: ScopeOptions
    @OptionGroup(title: "Setting up") var setup: SetupOptions
    @OptionGroup(title: "Reporting") var reporting: ReportingOptions

    @Argument(parsing: .captureForPassthrough, help: ArgumentHelp(visibility: .hidden))
    var command: [String] = []

    func validate() throws {
        if let first = command.first, first.hasPrefix("-"), first != "--" {
            // The parser takes its own flags for the start of the command, too.
            if ["-h", "--help"].contains(first) { throw CleanExit.helpRequest(self) }
            if first == "--version" { throw CleanExit.message(version) }
            throw ValidationError("Unknown option '\(first)'. A command that starts with '-' goes after '--'.")
        }
        if target.value == .command {
            if commandWords == 0 { throw ValidationError("No command to run. It follows the options, or '--'.") }
        } else {
            if commandWords > 0 { throw ValidationError("Either a command, or what runs already: not both.") }
            if let option = setup.forCommand ?? (limits.quota == nil ? nil : "--quota") {
                throw ValidationError("\(option) goes with a command, not with what runs already.")
            }
        }
        _ = try plan()
    }

    /// How many of the last words are the command's.
    private var commandWords: Int { command.first == "--" ? command.count - 1 : command.count }

    private func plan() throws -> RunPlan {
        var plan = RunPlan()
        let profile = try slow.profile.map { try Profiles.find($0) }
        plan.impairment = try slow.network.impairment(beside: profile?.impairment ?? .none)
        plan.rates = try limits.rates(
            beside: profile,
            isEnough: slow.network.isGiven || profile != nil || limits.quota != nil || limits.background)
        (plan.quota, plan.killAfter) = (limits.quota, limits.killAfter)
        plan.group = try limits.groupName()
        plan.burst = limits.burst
        plan.counting = limits.count
        plan.scope = peers.value
        plan.attach = setup.attach
        plan.mode = setup.mode
        plan.isBackground = limits.background
        if plan.isBackground && plan.mode == .police {
            throw ValidationError("--background takes queues at devices, which --mode police doesn't touch.")
        }
        if plan.mode == .police && plan.impairment != .none {
            throw ValidationError("Packets are delayed and lost at devices, which --mode police doesn't touch.")
        }
        plan.linger = setup.linger
        plan.progress = reporting.progress
        plan.cgroupParent = setup.cgroupParent
        plan.name = setup.name
        plan.target = target.value
        plan.duration = target.duration
        plan.bestEffort = setup.bestEffort
        return plan
    }

    /// Of a command that has used its quota up: as timeout(1) has it.
    private static let overtime: CInt = 124

    /// Runs the command and reports. Returns how it ended, for whoever called us.
    func execute() throws -> Outcome {
        let account = try setup.user.map { try Account($0) }
        if setup.systemd { try SystemdScope.enter(commandOf: commandWords) }
        let output = try reporting.openOutput()
        let log = Logger(label: "throttle", level: reporting.logLevel)
        let caller = try Caller()
        let command = target.value.words.map(Command.init(words:)) ?? Command(lastWords: commandWords, as: account)
        let run = Run(try plan(), command, log: log)
        let (outcome, report) = try run.execute(as: caller)
        if case .notExecuted(let error) = outcome {
            log.error("can't execute '\(report.subject.command[0])': \(error)")
        }
        reporting.publish(report, to: output, log)
        return report.isEndedByQuota ? .exited(RunCommand.overtime) : outcome
    }
}
