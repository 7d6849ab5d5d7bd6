import Cgroups
import Commands
import Kernel
import Logging
import Programs
import SystemPackage

/// One command under its limits, from set-up to report.
public struct Run {
    private let plan: RunPlan
    private let command: Command
    private let log: Logger

    public init(_ plan: RunPlan, _ command: Command, log: Logger) {
        self.plan = plan
        self.command = command
        self.log = log
    }

    /// Runs the command to its end. When this returns or throws, nothing of the run is left on the system.
    public func execute(as caller: borrowing Caller) throws(SetupError) -> (Outcome, Report) {
        var report = Report(plan, command)
        let started = try start(&report, as: caller)
        do throws(SystemError) {
            let outcome = try follow(started, &report, as: caller)
            return (outcome, report)
        } catch {
            throw SetupError(error)
        }
    }

    /// The command, held before its exec, and what limits it: nothing where that can't be set up and
    /// --best-effort does without.
    private struct Started: ~Copyable {
        var running: RunningCommand
        let limiter: Limiter?
        let keeper: Guard?
    }

    private func start(_ report: inout Report, as caller: borrowing Caller) throws(SetupError) -> Started {
        do {
            let limiter = try Limiter(plan, log: log)
            noteInheritedSockets()
            let running = try command.start(in: limiter.cgroupDescriptor, as: caller)
            limiter.note(plan, command, log)
            let keeper = limiter.keeper
            return Started(running: running, limiter: limiter, keeper: keeper)
        } catch {
            guard plan.bestEffort else { throw SetupError(error) }
            log.error("NOT THROTTLED: running without limits, as \(error)")
            report.setupFailure = "\(error)"
        }
        do {
            return Started(running: try command.start(in: nil, as: caller), limiter: nil, keeper: nil)
        } catch {
            throw SetupError(error)
        }
    }

    private func follow(
        _ started: consuming Started, _ report: inout Report, as caller: borrowing Caller
    ) throws(SystemError) -> Outcome {
        let began = Host.monotonicNanoseconds
        let home = cgroup(of: started.running.pid)
        let keeper = started.keeper
        let outcome: Outcome
        do throws(SystemError) {
            outcome = try started.running.supervise(as: caller, input: keeper?.input ?? -1) {
                keeper?.listen() ?? false
            }
        } catch {
            // The command may go on, but not without its limit.
            if let limiter = started.limiter { end(limiter, &report) }
            throw error
        }
        keeper?.drain()
        report.hasMoved = cgroup(of: started.running.pid) != home
        started.running.reap()
        var elapsed = Host.monotonicNanoseconds - began
        if let limiter = started.limiter {
            if plan.linger == .wait {
                try limiter.waitUntilEmpty(as: caller)
                elapsed = Host.monotonicNanoseconds - began
            }
            report.method = limiter.method
            report.id = limiter.id
            report.planes = limiter.planes
            report.planeCounters = limiter.planeCounters
            report.obstacle = limiter.keeper?.obstacle
            report.down.counters = limiter.counters(.down)
            report.up.counters = limiter.counters(.up)
            end(limiter, &report)
        }
        report.end(outcome, after: elapsed)
        return outcome
    }

    private func end(_ limiter: consuming Limiter, _ report: inout Report) {
        (report.leftBehind, report.linger) = limiter.end(plan.linger)
        report.leftBehindText.map { log.log(level: report.linger == .release ? .warning : .info, "\($0)") }
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
