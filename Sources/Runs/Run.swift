import Cgroups
import Kernel
import Logging
import Processes
import Programs
import Reports

/// One command under its limits, from set-up to report.
package struct Run {
    let plan: RunPlan
    let command: Command
    let log: Logger

    /// Does nothing yet. `log` hears what is done, and what goes wrong.
    package init(_ plan: RunPlan, _ command: Command, log: Logger) {
        self.plan = plan
        self.command = command
        self.log = log
    }

    /// Runs the command to its end. When this returns or throws, nothing of the run is left on the system.
    package func execute(as caller: borrowing Caller) throws(SetupError) -> (Outcome, Report) {
        if !plan.target.isCommand { return try limitTarget(as: caller) }
        let started = try start(as: caller)
        do throws(SystemError) {
            return try follow(started, as: caller)
        } catch {
            throw SetupError(error)
        }
    }

    /// The command, held before its exec, and what limits it: nothing where that can't be set up and
    /// --best-effort does without.
    private struct Started: ~Copyable {
        var running: RunningCommand
        let limiter: Limiter?
        let guardProcess: GuardProcess?
        /// Why nothing is limited.
        let failure: String?
    }

    private func start(as caller: borrowing Caller) throws(SetupError) -> Started {
        let failure: String
        do {
            let limiter = try Limiter(plan, command, log: log)
            noteInheritedSockets()
            let running = try command.start(in: limiter.cgroupDescriptor, as: caller)
            let guardProcess = limiter.guardProcess
            return Started(running: running, limiter: limiter, guardProcess: guardProcess, failure: nil)
        } catch {
            guard plan.bestEffort else { throw SetupError(error) }
            log.error("NOT THROTTLED: running without limits, as \(error)")
            failure = "\(error)"
        }
        let running = try setting { () throws(SystemError) in try command.start(in: nil, as: caller) }
        return Started(running: running, limiter: nil, guardProcess: nil, failure: failure)
    }

    private func follow(
        _ started: consuming Started, as caller: borrowing Caller
    ) throws(SystemError) -> (Outcome, Report) {
        let began = Host.monotonicNanoseconds
        let home = cgroup(of: started.running.pid)
        let guardProcess = started.guardProcess
        let failure = started.failure
        let limiter = started.limiter
        var running = started.running
        let progress = plan.progress ? Progress() : nil
        var quota = plan.quota.map { _ in QuotaWatch(killAfter: plan.killAfter, log) }
        var shown = began
        let outcome: Outcome
        do throws(SystemError) {
            outcome = try running.supervise(
                as: caller, input: guardProcess?.input ?? -1,
                milliseconds: quota == nil ? progress?.milliseconds ?? -1 : QuotaWatch.milliseconds,
                tick: { stops in
                    switch limiter {
                    case .some(let limiter) where !stops:
                        quota?.look(at: limiter)
                        let now = Host.monotonicNanoseconds
                        guard let progress, now >= shown + UInt64(progress.milliseconds) * 1_000_000 else { return }
                        shown = now
                        progress.show(flows(limiter))
                    default: progress?.erase()
                    }
                },
                read: { guardProcess?.listen() == true })
        } catch {
            // The command may go on, but not without its limit.
            if let limiter { _ = limiter.end(plan.linger) }
            throw error
        }
        progress?.erase()
        guardProcess?.drain()
        let hasMoved = cgroup(of: running.pid) != home
        running.reap()
        var elapsed = Host.monotonicNanoseconds - began
        var report = Report(plan.subject(command), plan.limits)
        if let limiter {
            if plan.linger == .wait {
                try limiter.waitUntilEmpty(as: caller)
                elapsed = Host.monotonicNanoseconds - began
            }
            report = limiter.report(plan.subject(command))
            (report.leftBehind, report.linger) = limiter.end(plan.linger)
            report.leftBehindText.map { log.log(level: report.linger == .release ? .warning : .info, "\($0)") }
        }
        (report.setupFailure, report.hasMoved) = (failure, hasMoved)
        report.isEndedByQuota = quota?.hasEnded == true
        report.end(outcome, after: elapsed)
        return (outcome, report)
    }

    /// What has passed, as the limits count it.
    func flows(_ limiter: borrowing Limiter) -> [ProgressLine.Flow] {
        Direction.allCases.map { direction in
            ProgressLine.Flow(
                bytes: limiter.memory.counters(direction).passedBytes(plan.counting),
                limit: limiter.memory.mostRates[direction])
        }
    }

    /// Where a process is, as /proc says; still told of a zombie.
    private func cgroup(of pid: Int32) -> String? {
        (try? readText("/proc/\(pid)/cgroup")).flatMap(cgroupPath(in:))
    }

    private func noteInheritedSockets() {
        guard log.logLevel <= .info else { return }
        for fd in Host.inheritedInternetSockets() {
            log.info("descriptor \(fd) is a socket made outside the run: its traffic is not limited")
        }
    }
}
