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
        let limiter: Limiter?
        do throws(SetupError) {
            limiter = try Limiter(plan, log: log)
        } catch {
            guard plan.bestEffort else { throw error }
            log.warning("NOT THROTTLED: running without limits, as \(error)")
            report.warnings.append("\(error)")
            limiter = nil
        }
        if limiter != nil { noteInheritedSockets() }
        do throws(SystemError) {
            return try start(limiter, &report, as: caller)
        } catch {
            throw SetupError(error)
        }
    }

    private func start(
        _ limiter: consuming Limiter?, _ report: inout Report, as caller: borrowing Caller
    ) throws(SystemError) -> (Outcome, Report) {
        guard let limiter else {
            var running = try command.start(in: nil, as: caller)
            let outcome = try running.supervise(as: caller)
            running.reap()
            report.end(outcome)
            return (outcome, report)
        }
        let started = Host.monotonicNanoseconds
        var running = try command.start(in: limiter.cgroupDescriptor, as: caller)
        let home = cgroup(of: running.pid)
        let outcome = try running.supervise(as: caller)
        report.hasMoved = cgroup(of: running.pid) != home
        running.reap()
        report.elapsedNanoseconds = Host.monotonicNanoseconds - started
        report.method = limiter.method
        report.id = limiter.id
        report.down.counters = limiter.counters(.down)
        report.up.counters = limiter.counters(.up)
        let left = limiter.undo()
        if left > 0 {
            let warning =
                "the command left \(left) \(left == 1 ? "process" : "processes") running, not limited any more"
            report.warnings.append(warning)
            log.warning("\(warning)")
        }
        report.end(outcome)
        return (outcome, report)
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
