import CLibBPF
import CPrograms
import Glibc
import Kernel
import SystemPackage

/// A BPF program that leads packets into one queue of a run, or out of it, loaded.
package struct QueueProgram: ~Copyable {
    /// What it does, and where.
    package enum Way: Sendable {
        /// Leads downloads into a queue: by a tcx link.
        case link
        /// The same: as a filter whose action redirects.
        case filter
        /// Leads uploads into a queue: by a tcx link, or as a filter that redirects by itself.
        case hold
        /// Leads them back to their device.
        case back

        package var name: String {
            switch self {
            case .link: "throttle_shape"
            case .filter: "throttle_match"
            case .hold: "throttle_hold"
            case .back: "throttle_back"
            }
        }

        /// Those of the same object.
        fileprivate var all: [Way] { isForUploads ? [.hold, .back] : [.link, .filter] }
        fileprivate var isForUploads: Bool { self == .hold || self == .back }
    }

    /// What filters of ours at devices of others are named.
    package static let filterNames = [Way.filter.name, Way.hold.name]

    private let object: BPFObject
    package let way: Way

    /// Loads it, for devices whose packets begin with an Ethernet header or not. Nothing is attached yet. `mark` is the bit
    /// that says that an upload was in the run's queue, `network` the cookie of the devices' namespace, 0 of throttle's own;
    /// `impairs`: whether it may have to delay packets, or to lose them.
    package init(
        sharing maps: SharedMaps, for way: Way, hasEthernet: Bool = true, mark: UInt16 = 1, network: UInt64 = 0,
        impairs: Bool = false
    ) throws(LoadError) {
        let object = try BPFObject(way.isForUploads ? programs_upload() : programs_download())
        try object.use(maps)
        let constants = throttle_queue_constants(
            has_no_ethernet: hasEthernet ? 0 : 1, mark: UInt32(mark), impairs: impairs ? 1 : 0, pad: 0, network: network
        )
        try object.set(constants, ofMap: Map.queueConstants)
        for other in way.all where other != way { object.leaveOut(other.name) }
        try object.load()
        self.object = object
        self.way = way
    }

    /// Has it lead to the queue of this device, by its index; before it is attached. `hasFresh`: whether that has a class for
    /// the first packets of each flow.
    package func lead(to device: Int32, hasFresh: Bool = false) throws(LoadError) {
        var key: UInt32 = 0
        var target = throttle_queue_target(device: UInt32(device), has_fresh: hasFresh ? 1 : 0)
        if bpf_map_update_elem(object.descriptor(ofMap: Map.queueTarget), &key, &target, 0) != 0 {
            throw LoadError(errno: Errno(rawValue: errno))
        }
    }

    package var descriptor: CInt { object.descriptor(ofProgram: way.name) }
}
