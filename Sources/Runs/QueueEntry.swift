import Devices
import Kernel
import Logging
import Programs

/// What leads the packets of one device into the queue, if anything does. Its end takes it away.
final class QueueEntry {
    private let name: String
    private let log: Logger
    private var link: IngressLink?
    private var place: IngressPlace?
    private var filter: IngressFilter?

    /// A device whose packets don't go through the queue.
    init(without device: Device) {
        name = device.name
        log = .silent
    }

    /// By a tcx link where nobody's filters would be passed over for it, else as a filter behind theirs.
    init(
        _ device: Device, to queue: Int32, hasQdisc: Bool, _ kernel: KernelVersion, _ set: borrowing PlaneSet,
        _ log: Logger
    ) throws(SystemError) {
        name = device.name
        self.log = log
        if kernel >= IngressLink.oldestKernel && !hasQdisc {
            link = try IngressLink(set, on: device.index, named: device.name, log: log)
            return
        }
        var filter: IngressFilter?
        place = try IngressPlace(on: device, log: log) { priority throws(SystemError) in
            filter = try IngressFilter(
                program: set.matchDescriptor, named: PlaneSet.matchName, on: device, to: queue,
                priority: priority.rawValue, handle: UInt32(queue))
        }
        self.filter = filter
        log.debug("attached \(PlaneSet.matchName) to device \(name), method filter")
    }

    var leads: Bool { link != nil || filter != nil }

    deinit {
        place.take()?.leave {
            do {
                try filter?.remove()
                log.debug("detached \(PlaneSet.matchName) from device \(name)")
            } catch {
                log.warning("\(error)")
            }
        }
    }
}
