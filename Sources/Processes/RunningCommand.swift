import CKernel
import Glibc
import Kernel
import SystemPackage

/// How a command ended.
package enum Outcome: Sendable, Equatable {
    /// With this status, 0 to 255.
    case exited(CInt)
    /// By this signal.
    case killed(signal: CInt)
    /// exec failed with this error.
    case notExecuted(Errno)
}

/// A command that we started and wait for, passing signals on.
package struct RunningCommand: ~Copyable {
    /// As this process sees it; the command's until `reap`.
    package let pid: pid_t
    private let descriptor: Descriptor
    private let channel: Descriptor
    private var isStopped = false

    init(pid: pid_t, descriptor: consuming Descriptor, channel: consuming Descriptor) {
        self.pid = pid
        self.descriptor = descriptor
        self.channel = channel
    }

    /// Lets the command exec and waits for its end; it then is a zombie until `reap`, so that its /proc
    /// entry can still be read. The signals that came so far reach the command before its exec. Meanwhile calls
    /// `read` when `input` can be read, until that returns false, and `tick` every so many milliseconds (-1: never) and,
    /// with true, before we stop with the command.
    package mutating func supervise(
        as caller: borrowing Caller, input: CInt, milliseconds: CInt = -1, tick: (_ stops: Bool) -> Void = { _ in },
        read: () -> Bool
    ) throws(SystemError) -> Outcome {
        enum Event { case signal, input }
        var input = input
        var next = milliseconds < 0 ? nil : Host.monotonicNanoseconds + UInt64(milliseconds) * 1_000_000
        // Whichever of these the terminal also sent to the command is pending there, and so comes once.
        while let signal = try caller.nextSignal() {
            if signal.number != SIGCHLD { forward(signal.number) }
        }
        try release()
        // Where it has ended already, its SIGCHLD was among them.
        if let outcome = try followChild(tick) { return outcome }
        while true {
            if let time = next, time <= Host.monotonicNanoseconds {
                tick(false)
                next = Host.monotonicNanoseconds + UInt64(milliseconds) * 1_000_000
            }
            var poller = Poller<Event>()
            poller.add(caller.signals.rawValue, .signal)
            poller.add(input, .input)
            poller.wake(at: next)
            let events = poller.wait()
            if events.contains(.input), !read() { input = -1 }
            while events.contains(.signal), let signal = try caller.nextSignal() {
                if let outcome = try take(signal, tick) { return outcome }
            }
        }
    }

    /// Passes a signal on, or follows the child where it tells of that. Returns the outcome when the command has ended.
    private mutating func take(_ signal: kernel_signal, _ tick: (Bool) -> Void) throws(SystemError) -> Outcome? {
        if signal.number == SIGCHLD { return try followChild(tick) }
        if signal.number == SIGCONT {
            // `fg` continues the whole group; kill -CONT may have meant us alone.
            if isStopped { forward(SIGCONT) }
        } else if !reachesCommandAnyway(signal) {
            forward(signal.number)
        }
        return nil
    }

    /// Removes the zombie.
    package func reap() {
        var value: CInt = 0
        _ = kernel_child_change(descriptor.rawValue, true, &value)
    }

    /// Lets the child go on to its exec.
    private func release() throws(SystemError) {
        do {
            try channel.write("!")
        } catch .brokenPipe {
            // A signal ended the command before its exec: its status tells.
        } catch {
            throw SystemError("start", "the command", errno: error)
        }
    }

    private func forward(_ signal: CInt) {
        _ = kernel_send_signal(descriptor.rawValue, signal)
    }

    /// Whether a signal was sent to our whole process group, so that the command has it already.
    private func reachesCommandAnyway(_ signal: kernel_signal) -> Bool {
        if signal.sender == pid { return true }
        guard signal.code == CInt(SI_KERNEL) else { return false }
        switch signal.number {
        case SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH: return true
        // A hang-up reaches the session's leader first and alone (drivers/tty/tty_jobctrl.c).
        case SIGHUP: return getsid(0) != getpid()
        default: return false
        }
    }

    /// Takes in what happened to the command. Returns its outcome when it has ended.
    private mutating func followChild(_ tick: (Bool) -> Void) throws(SystemError) -> Outcome? {
        while true {
            var value: CInt = 0
            let change = kernel_child_change(descriptor.rawValue, false, &value)
            if change < 0 { throw SystemError("wait for", "process \(pid)") }
            switch kernel_change(rawValue: UInt32(change)) {
            case KERNEL_EXITED: return try executionError().map { .notExecuted($0) } ?? .exited(value)
            case KERNEL_KILLED: return .killed(signal: value)
            case KERNEL_STOPPED:
                isStopped = true
                // The shell must see the job stop. SIGSTOP is meant for that one process: no job control.
                if value != SIGSTOP {
                    tick(true)
                    kernel_raise(value)
                }
            case KERNEL_CONTINUED: isStopped = false
            default: return nil
            }
        }
    }

    /// What exec failed with, as the child reported before it ended; nil if it didn't fail. Throws if the child didn't
    /// get that far, as it couldn't become its user.
    private func executionError() throws(SystemError) -> Errno? {
        var code: CInt = 0
        let size = MemoryLayout<CInt>.size
        guard recv(channel.rawValue, &code, size, CInt(MSG_DONTWAIT)) == size else { return nil }
        if code < 0 { throw SystemError("become", "the user of --user", errno: Errno(rawValue: -code)) }
        return Errno(rawValue: code)
    }
}

extension Outcome {
    /// Ends this process the way the command ended: by the same signal, or with the returned exit status
    /// (126 and 127 as env(1) and nice(1) do).
    package func relay() -> CInt {
        switch self {
        case .exited(let code): return code
        case .notExecuted(let error): return error == .noSuchFileOrDirectory ? 127 : 126
        case .killed(let signal):
            kernel_die_by(signal)
            // Only process 1 of a pid namespace gets here: default actions don't end it.
            return 128 + signal
        }
    }
}
