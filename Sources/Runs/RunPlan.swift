import Commands
import Programs
import Units

/// Which way of attaching to use.
public enum AttachChoice: String, Sendable, CaseIterable {
    /// By link, and by the legacy call where the kernel has no links for cgroups.
    case auto
    case link
    case legacy
}

/// What happens to processes that outlive the command.
public enum Linger: String, Sendable, CaseIterable {
    /// They stay limited to their end; nobody waits for them.
    case keep
    /// The run goes on until all have ended.
    case wait
    /// They go on unlimited, in the caller's cgroup.
    case release
    case kill
}

/// Everything that a run was asked for, checked before anything on the system is touched.
public struct RunPlan: Sendable {
    /// What is asked for at first; in a group, the run may get less.
    public var rates = Rates.unlimited
    /// How much unused time may be caught up on; covers TCP's minimum retransmission timeout of 200 ms.
    public var burst = TimeSpan(nanoseconds: 200_000_000)
    public var counting: Counting = .payload
    public var attach: AttachChoice = .auto
    public var mode = Mode.auto
    public var linger = Linger.keep
    /// Which peers are limited.
    public var scope = Scope.all
    /// Directory of the cgroup to make the run's below; nil: the caller's cgroup.
    public var cgroupParent: String?
    /// The group whose budget the run shares.
    public var group: String?
    /// For people; nil: the command's first word.
    public var name: String?
    /// Whether to show how far the run is.
    public var progress = false
    /// Whether to run unlimited, with a warning, where limiting can't be set up.
    public var bestEffort = false
    /// How what dead runs left is removed on the way.
    var sweep = Sweep()

    public init() {}

    var limits: Limits { Limits(rates, burst: burst, counting: counting) }

    /// What a report on it is about, as far as that is known before it runs.
    func subject(_ command: Command) -> Report.Subject {
        Report.Subject(command: command.words, name: name ?? command.words[0], mode: mode, linger: linger)
    }
}
