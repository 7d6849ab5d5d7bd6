import Kernel
import Logging

/// A filter of ours at a device's ingress, in its place: what it matches goes into a queue. Its end removes it, and gives
/// the place up.
package struct PlacedFilter: ~Copyable {
    private let filter: IngressFilter
    private let place: IngressPlace
    private let name: String
    private let log: Logger

    /// Adds the filter; `program` is the descriptor of one of type sched_cls, which returns -1 for a match and else 0.
    package init(
        program: CInt, named name: String, on device: Device, in network: NetworkNamespace, to queue: Int32, log: Logger
    ) throws(SystemError) {
        var filter: IngressFilter?
        place = try IngressPlace(on: device, in: network, log: log) { priority throws(SystemError) in
            filter = try IngressFilter(
                program: program, named: name, on: device, in: network, to: queue, priority: priority.rawValue,
                handle: UInt32(queue))
        }
        guard let filter else { fatalError("a place without its filter") }
        self.filter = filter
        self.name = name
        self.log = log
        log.debug("attached \(name) to device \(device.name), method filter")
    }

    deinit {
        // `self` is no more while its place is left.
        let (filter, name, log) = (filter, name, log)
        place.leave {
            do {
                try filter.remove()
                log.debug("detached \(name) from device \(filter.device.name)")
            } catch {
                log.warning("\(error)")
            }
        }
    }
}
