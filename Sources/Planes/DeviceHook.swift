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

    /// By a tcx link where nobody's filters would be passed over for it, else as a filter behind theirs; so also where
    /// there are as many links as Linux allows.
    package init(
        _ device: Device, in network: NetworkNamespace, to queue: Int32, hasQdisc: Bool, _ kernel: KernelVersion,
        _ programs: borrowing QueuePrograms, _ log: Logger
    ) throws(SystemError) {
        if kernel >= IngressLink.oldestKernel && !hasQdisc {
            do throws(SystemError) {
                let link = try network.inside { () throws(SystemError) in
                    try IngressLink(programs, on: device.index, named: device.name, log: log)
                }
                way = .link(link)
                return
            } catch  where error.errno == .outOfRange {
                log.debug("\(error)")
            }
        }
        way = .filter(
            try PlacedFilter(
                program: programs.matchDescriptor, named: QueuePrograms.matchName, on: device, in: network,
                to: queue, log: log))
    }
}
