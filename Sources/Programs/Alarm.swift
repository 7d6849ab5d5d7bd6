import CLibBPF

/// Tells a guard that sleeps that its run moves something again.
package final class Alarm {
    private let ring: OpaquePointer

    /// nil where there can be none.
    package init?(of memory: RunMemory) {
        guard let ring = ring_buffer__new(memory.alarm.rawValue, { _, _, _ in 0 }, nil, nil) else { return nil }
        self.ring = ring
    }

    deinit { ring_buffer__free(ring) }

    /// Can be read when it sounds.
    package var descriptor: CInt { ring_buffer__epoll_fd(ring) }

    /// Ends it.
    package func stop() { _ = ring_buffer__consume(ring) }
}
