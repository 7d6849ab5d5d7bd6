import CPrograms
import Kernel

/// The BPF programs that lead a run's downloads into one queue, loaded.
package struct QueuePrograms: ~Copyable {
    private let object: BPFObject

    /// Loads them for the queue of this device, by its index. Nothing is attached yet.
    package init(for device: Int32, sharing maps: SharedMaps) throws(LoadError) {
        let object = try BPFObject(programs_queue())
        try object.use(maps)
        try object.set(throttle_queue_constants(device: UInt32(device)), ofMap: Map.queueConstants)
        try object.load()
        self.object = object
    }

    /// Of the program for a device's ingress by tcx link.
    var shapeDescriptor: CInt { object.descriptor(ofProgram: QueuePrograms.shapeName) }

    static let shapeName = "throttle_shape"

    /// Of the program for a filter whose action redirects.
    package var matchDescriptor: CInt { object.descriptor(ofProgram: QueuePrograms.matchName) }

    /// What such a filter is named, too.
    package static let matchName = "throttle_match"
}
