import CLibBPF
import CPrograms
import Glibc
import Kernel
import SystemPackage

/// The BPF programs that lead a run's downloads into one queue, loaded.
package struct QueuePrograms: ~Copyable {
    private let object: BPFObject

    /// Loads them, for devices whose packets begin with an Ethernet header or not. Nothing is attached yet.
    package init(sharing maps: SharedMaps, hasEthernet: Bool = true) throws(LoadError) {
        let object = try BPFObject(programs_queue())
        try object.use(maps)
        try object.set(throttle_queue_constants(has_no_ethernet: hasEthernet ? 0 : 1), ofMap: Map.queueConstants)
        try object.load()
        self.object = object
    }

    /// Has them lead to the queue of this device, by its index; before they are attached.
    package func lead(to device: Int32) throws(LoadError) {
        var key: UInt32 = 0
        var target = throttle_queue_target(device: UInt32(device))
        if bpf_map_update_elem(object.descriptor(ofMap: Map.queueTarget), &key, &target, 0) != 0 {
            throw LoadError(errno: Errno(rawValue: errno))
        }
    }

    /// Of the program for a device's ingress by tcx link.
    var shapeDescriptor: CInt { object.descriptor(ofProgram: QueuePrograms.shapeName) }

    static let shapeName = "throttle_shape"

    /// Of the program for a filter whose action redirects.
    package var matchDescriptor: CInt { object.descriptor(ofProgram: QueuePrograms.matchName) }

    /// What such a filter is named, too.
    package static let matchName = "throttle_match"
}
