import CLibBPF
import CPrograms

/// Tells a guard that sleeps that its run moves something again, and any guard of new devices.
package final class Alarm {
    private let ring: OpaquePointer
    private let heard: Heard

    private final class Heard {
        var devices: [UsedDevice] = []
    }

    /// nil where there can be none.
    package init?(of memory: RunMemory) {
        let heard = Heard()
        let ring = ring_buffer__new(
            memory.maps.descriptor(of: Map.alarm),
            { heard, bytes, size in
                guard let heard, let bytes, size >= MemoryLayout<throttle_event>.size else { return 0 }
                let event = bytes.loadUnaligned(as: throttle_event.self)
                let device = UsedDevice(
                    network: event.network, index: Int32(truncatingIfNeeded: event.device),
                    direction: event.direction == THROTTLE_UP.rawValue ? .up : .down)
                if device.index > 0 { Unmanaged<Heard>.fromOpaque(heard).takeUnretainedValue().devices.append(device) }
                return 0
            }, Unmanaged.passUnretained(heard).toOpaque(), nil)
        guard let ring else { return nil }
        self.ring = ring
        self.heard = heard
    }

    deinit { ring_buffer__free(ring) }

    /// Can be read when it sounds.
    package var descriptor: CInt { ring_buffer__epoll_fd(ring) }

    /// Ends it. Returns the new devices.
    package func stop() -> [UsedDevice] {
        heard.devices = []
        ring_buffer__consume(ring)
        return heard.devices
    }
}
