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
        let limiter = try makeLimiter(&report)
        do throws(SystemError) {
            let outcome = try runCommand(under: limiter, &report, as: caller)
            return (outcome, report)
        } catch {
            throw SetupError(error)
        }
    }

    /// nil where limiting can't be set up and --best-effort does without.
    private func makeLimiter(_ report: inout Report) throws(SetupError) -> Limiter? {
        do throws(SetupError) {
            return try Limiter(plan, log: log)
        } catch {
            guard plan.bestEffort else { throw error }
            log.warning("NOT THROTTLED: running without limits, as \(error)")
            report.warnings.append("\(error)")
            return nil
        }
    }

    private func runCommand(
        under limiter: consuming Limiter?, _ report: inout Report, as caller: borrowing Caller
    ) throws(SystemError) -> Outcome {
        noteInheritedSockets()
        let started = Host.monotonicNanoseconds
        var running = try command.start(in: limiter?.cgroupDescriptor, as: caller)
        let home = cgroup(of: running.pid)
        let outcome = try running.supervise(as: caller)
        report.hasMoved = cgroup(of: running.pid) != home
        running.reap()
        let elapsed = Host.monotonicNanoseconds - started
        if let limiter {
            report.method = limiter.method
            report.id = limiter.id
            report.down.counters = limiter.counters(.down)
            report.up.counters = limiter.counters(.up)
            warnOfProcesses(limiter.undo(), &report)
        }
        report.end(outcome, after: elapsed)
        return outcome
    }

    private func warnOfProcesses(_ left: Int, _ report: inout Report) {
        if left == 0 { return }
        let warning =
            "the command left \(left) \(left == 1 ? "process" : "processes") running, not limited any more"
        report.warnings.append(warning)
        log.warning("\(warning)")
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
