import Kernel
import Logging

/// A filter of ours at a device, in its place: what it matches goes into a queue. Its end removes it, and gives the place
/// up.
package struct PlacedFilter: ~Copyable {
    private let filter: DeviceFilter
    private let place: FilterPlace
    private let name: String
    private let log: Logger

    /// Adds the filter; `program` and `queue` are as for `DeviceFilter`.
    package init(
        program: CInt, named name: String, on device: Device, _ side: Side, in network: NetworkNamespace,
        to queue: Int32, log: Logger
    ) throws(SystemError) {
        var filter: DeviceFilter?
        place = try FilterPlace(on: device, side, in: network, log: log) { priority throws(SystemError) in
            filter = try DeviceFilter(
                program: program, named: name, on: device, side, in: network, to: queue, priority: priority.value)
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
