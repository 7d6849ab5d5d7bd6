import Glibc

/// Waits for several things at once (poll(2)). Made anew for each wait: what is waited for has no second place.
package struct Poller<Source> {
    private var files: [pollfd] = []
    private var sources: [Source] = []
    private var deadline = UInt64.max

    package init() {}

    /// Waits until the descriptor can be read, or its other end is closed. A negative one is none.
    package mutating func add(_ descriptor: CInt, _ source: Source) { add(descriptor, POLLIN, source) }

    /// Waits until a file changes after it was last read, as cgroup.events does.
    package mutating func addChange(of descriptor: CInt, _ source: Source) { add(descriptor, POLLPRI, source) }

    private mutating func add(_ descriptor: CInt, _ events: CInt, _ source: Source) {
        files.append(pollfd(fd: descriptor, events: Int16(events), revents: 0))
        sources.append(source)
    }

    /// Waits no longer than until then, in ns of CLOCK_MONOTONIC; nil: it doesn't matter.
    package mutating func wake(at time: UInt64?) { deadline = min(deadline, time ?? .max) }

    /// What there is; nothing where the time has come first.
    package mutating func wait() -> [Source] {
        while true {
            if poll(&files, nfds_t(files.count), timeout) >= 0 || errno != EINTR { break }
        }
        return zip(files, sources).filter { $0.0.revents != 0 }.map(\.1)
    }

    private var timeout: CInt {
        if deadline == .max { return -1 }
        let now = Host.monotonicNanoseconds
        return deadline <= now ? 0 : CInt(clamping: (deadline - now + 999_999) / 1_000_000)
    }
}
