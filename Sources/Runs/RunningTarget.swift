import Cgroups
import Glibc
import Kernel
import Planes
import Processes
import Reports
import SystemPackage

/// What runs already, under its limits for a while.
extension Run {
    /// Limits what the plan names until the last of it ends, the time is over, or a signal comes. Then it goes on as before.
    func limitTarget(as caller: borrowing Caller) throws(SetupError) -> (Outcome, Report) {
        let limiter = try Limiter(plan, command, log: log)
        let sockets = OpenSockets(limiter.memory, try checkKernel(), log)
        let began = Host.monotonicNanoseconds
        let guardProcess = limiter.guardProcess
        let outcome: Outcome
        do {
            if case .processes(let roots) = plan.target { try limiter.take(roots) }
            // Those of a cgroup for the second time, as more may have been made before its programs were there.
            limiter.adopt(sockets, isRepeated: plan.target.isCgroup)
            outcome = try waitForEnd(of: limiter, since: began, as: caller)
        } catch {
            limiter.giveBack(sockets)
            _ = limiter.end(.release)
            throw SetupError(error)
        }
        guardProcess?.drain()
        var report = limiter.report(plan.subject(command))
        limiter.giveBack(sockets)
        _ = limiter.end(.release)
        report.end(outcome, after: Host.monotonicNanoseconds - began)
        return (outcome, report)
    }

    private func waitForEnd(
        of limiter: borrowing Limiter, since began: UInt64, as caller: borrowing Caller
    ) throws(SystemError) -> Outcome {
        enum Event { case signal, guardian, cgroup }
        let events = try limiter.events()
        let progress = plan.progress ? Progress() : nil
        defer { progress?.erase() }
        let end = plan.duration.map { began + $0.nanoseconds }
        var next = progress.map { Host.monotonicNanoseconds + UInt64($0.milliseconds) * 1_000_000 }
        while events.isPopulated {
            let now = Host.monotonicNanoseconds
            if let end, end <= now { break }
            if let progress, let time = next, time <= now {
                progress.show(flows(limiter))
                next = now + UInt64(progress.milliseconds) * 1_000_000
            }
            var poller = Poller<Event>()
            poller.add(caller.signals.rawValue, .signal)
            poller.add(limiter.guardProcess?.input ?? -1, .guardian)
            poller.addChange(of: events.descriptor, .cgroup)
            poller.wake(at: end)
            poller.wake(at: next)
            let ready = poller.wait()
            if ready.contains(.guardian) { _ = limiter.guardProcess?.listen() }
            if ready.contains(.signal), let signal = try caller.pendingEnd() { return .killed(signal: signal) }
        }
        return .exited(0)
    }
}
