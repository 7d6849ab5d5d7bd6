import Devices
import Kernel
import Logging
import Programs

/// What leads the packets of one device into the queue. Its end takes it away. A class, as no dictionary holds what
/// can't be copied.
package final class DeviceHook {
    private enum Way: ~Copyable {
        case link(IngressLink)
        case filter(PlacedFilter)
    }

    private let way: Way

    /// The program lives on as long as the hook does.
    package init(
        _ device: Device, in network: NetworkNamespace, to queue: Int32, _ program: borrowing QueueProgram,
        _ log: Logger
    ) throws(SystemError) {
        switch program.way {
        case .link:
            let link = try network.inside { () throws(SystemError) in
                try IngressLink(program, on: device.index, named: device.name, log: log)
            }
            way = .link(link)
        case .filter:
            way = .filter(
                try PlacedFilter(
                    program: program.descriptor, named: QueueProgram.filterName, on: device, in: network, to: queue,
                    log: log))
        }
    }
}
