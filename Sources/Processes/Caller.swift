import CKernel
import Glibc
import Kernel

/// What the command must find as the caller left it, though we change it for ourselves: its signals.
/// Takes all catchable signals, so that none ends us before everything is undone.
package struct Caller: ~Copyable {
    package let signals: Descriptor
    let state: kernel_caller

    /// To be made first of all, while the process has one thread.
    package init() throws(SystemError) {
        try Host.occupyStandardDescriptors()
        var state = kernel_caller()
        let fd = kernel_take_signals(&state)
        if fd < 0 { throw SystemError("open", "a signalfd") }
        signals = Descriptor(owning: fd)
        self.state = state
    }

    /// The next signal that has come; nil where there is none. `signals` can be read when one does.
    func nextSignal() throws(SystemError) -> kernel_signal? {
        while true {
            var signal = kernel_signal()
            let result = kernel_next_signal(signals.rawValue, &signal)
            if result < 0 { throw SystemError("read", "the signalfd") }
            if result == 0 { return nil }
            // Nobody reads our standard error any more: that is no concern of the command's.
            if signal.number != SIGPIPE || signal.sender != getpid() { return signal }
        }
    }

    /// Waits until the file `descriptor` changes (poll(2), POLLPRI), or a signal comes that would end us: returns that.
    package func awaitChange(of descriptor: CInt) throws(SystemError) -> CInt? {
        while true {
            var poller = Poller<Bool>()
            poller.add(signals.rawValue, false)
            poller.addChange(of: descriptor, true)
            let hasChanged = poller.wait().contains(true)
            if let end = try pendingEnd() { return end }
            if hasChanged { return nil }
        }
    }

    /// The signal that came meanwhile and would have ended us, if one did.
    package func pendingEnd() throws(SystemError) -> CInt? {
        while let signal = try nextSignal() {
            if let end = ending(signal) { return end }
        }
        return nil
    }

    /// Its number if the signal would end us; does what it would do otherwise.
    private func ending(_ signal: kernel_signal) -> CInt? {
        switch signal.number {
        case SIGCHLD, SIGCONT, SIGWINCH, SIGURG: break
        case SIGTSTP, SIGTTIN, SIGTTOU: kernel_raise(signal.number)
        default: return signal.number
        }
        return nil
    }
}
