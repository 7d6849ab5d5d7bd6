import CLibBPF
import CPrograms
import Glibc
import Kernel
import SystemPackage

/// The BPF program that leads a run's downloads into one queue, loaded.
package struct QueueProgram: ~Copyable {
    /// How it is put on devices.
    package enum Way: Sendable {
        /// By a tcx link.
        case link
        /// As a filter whose action redirects.
        case filter

        var name: String { self == .link ? "throttle_shape" : QueueProgram.filterName }
    }

    /// What such a filter is named, too.
    package static let filterName = "throttle_match"

    private let object: BPFObject
    package let way: Way

    /// Loads it, for devices whose packets begin with an Ethernet header or not. Nothing is attached yet.
    package init(sharing maps: SharedMaps, for way: Way, hasEthernet: Bool = true) throws(LoadError) {
        let object = try BPFObject(programs_queue())
        try object.use(maps)
        try object.set(throttle_queue_constants(has_no_ethernet: hasEthernet ? 0 : 1), ofMap: Map.queueConstants)
        for other in [Way.link, .filter] where other != way { object.leaveOut(other.name) }
        try object.load()
        self.object = object
        self.way = way
    }

    /// Has it lead to the queue of this device, by its index; before it is attached.
    package func lead(to device: Int32) throws(LoadError) {
        var key: UInt32 = 0
        var target = throttle_queue_target(device: UInt32(device))
        if bpf_map_update_elem(object.descriptor(ofMap: Map.queueTarget), &key, &target, 0) != 0 {
            throw LoadError(errno: Errno(rawValue: errno))
        }
    }

    package var descriptor: CInt { object.descriptor(ofProgram: way.name) }
}
