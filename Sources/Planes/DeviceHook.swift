import Devices
import Kernel
import Logging
import Programs

/// What leads the packets of one device into the queue. Its end takes it away. A class, as no dictionary holds what
/// can't be copied.
package final class DeviceHook {
    private enum Way: ~Copyable {
        case link(DeviceLink)
        case filter(PlacedFilter)
    }

    private let way: Way

    /// The program lives on as long as the hook does. `queue`: where a filter at ingress sends what it matches, or what says
    /// whose one at egress is.
    package init(
        _ device: Device, in network: NetworkNamespace, to queue: Int32, _ program: borrowing QueueProgram,
        byLink: Bool, _ log: Logger
    ) throws(SystemError) {
        switch byLink {
        case true:
            let link = try network.inside { () throws(SystemError) in
                try DeviceLink(program, on: device.index, named: device.name, log: log)
            }
            way = .link(link)
        case false:
            way = .filter(
                try PlacedFilter(
                    program: program.descriptor, named: program.way.name, on: device,
                    program.way == .hold ? .egress : .ingress, in: network, to: queue, log: log))
        }
    }
}
