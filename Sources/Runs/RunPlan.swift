import Processes
import Programs
import Reports
import Units

/// Which way of attaching to use.
package enum AttachChoice: String, Sendable, CaseIterable {
    /// By link, and by the legacy call where the kernel has no links for cgroups.
    case auto
    case link
    case legacy
}

/// Everything that a run was asked for, checked before anything on the system is touched.
package struct RunPlan: Sendable {
    package var target = Target.command
    /// How long to limit what runs already; nil: until it ends.
    package var duration: TimeSpan?
    /// What is asked for at first; in a group, the run may get less.
    package var rates = Rates.unlimited
    /// How much unused time may be caught up on; covers TCP's minimum retransmission timeout of 200 ms.
    package var burst = TimeSpan(nanoseconds: 200_000_000)
    package var counting: Counting = .payload
    /// Bytes of both directions after which the command is ended; nil: never.
    package var quota: UInt64?
    /// How long it then has until it is killed; nil: as long as it takes.
    package var killAfter: TimeSpan?
    /// Whether it takes only what nobody else wants.
    package var isBackground = false
    /// What makes the network slow besides that.
    package var impairment = Impairment.none
    package var attach: AttachChoice = .auto
    package var mode = Mode.auto
    package var linger = Linger.keep
    /// Which peers are limited.
    package var scope = Scope.all
    /// Directory of the cgroup to make the run's below; nil: the caller's cgroup.
    package var cgroupParent: String?
    /// The group whose budget the run shares.
    package var group: String?
    /// For people; nil: the command's first word.
    package var name: String?
    /// Whether to show how far the run is.
    package var progress = false
    /// Whether to run unlimited, with a warning, where limiting can't be set up.
    package var bestEffort = false
    /// How what dead runs left is removed on the way.
    package var sweep = Sweep()

    package init() {}

    package var limits: Limits { Limits(rates, burst: burst, counting: counting) }

    /// Whether it can't begin without its guard.
    var needsGuard: Bool { mode == .shape || ((isBackground || impairment != .none) && !bestEffort) }

    /// What a report on it is about, as far as that is known before it runs.
    func subject(_ command: Command) -> Report.Subject {
        var subject = Report.Subject(command: command.words, name: name ?? command.words[0], mode: mode, linger: linger)
        subject.attachedTo = target.described
        return subject
    }
}
