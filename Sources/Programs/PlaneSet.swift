import CPrograms
import Kernel

/// The BPF programs that make the limits of one run lossless, loaded; they work on the maps of its `ProgramSet`.
public struct PlaneSet: LoadedPrograms, ~Copyable {
    let object: BPFObject

    /// Loads the programs. Nothing is attached yet.
    public init(sharing limits: borrowing ProgramSet) throws(LoadError) {
        let object = try BPFObject(programs_planes())
        for map in Map.common { try object.use(limits.object.descriptor(ofMap: map), forMap: map) }
        try object.load()
        self.object = object
    }

    public func descriptor(of hook: Hook) -> CInt { object.descriptor(of: hook) }

    /// Of the program for a device's ingress by tcx link.
    var shapeDescriptor: CInt { object.descriptor(ofProgram: PlaneSet.shapeName) }

    static let shapeName = "throttle_shape"

    /// Of the program for a filter whose action redirects.
    public var matchDescriptor: CInt { object.descriptor(ofProgram: PlaneSet.matchName) }

    /// What such a filter is named, too.
    public static let matchName = "throttle_match"
}

/// What the planes did so far.
public struct PlaneCounters: Sendable, Equatable {
    /// Sockets whose uploads were paced, and whose receive windows were clamped.
    public var pacedSockets: UInt32 = 0
    public var clampedSockets: UInt32 = 0
    /// Whether the limit held uploads back that were paced, and downloads that were clamped or queued.
    public var pacedUploads = false
    public var heldDownloads = false
    /// Segments that the run's sockets sent again.
    public var retransmittedSegments: UInt64 = 0
    /// How long downloads waited in the queue, as sampled; 0 where there is none.
    public var queueDelayAverageNanoseconds: UInt64 = 0
    public var queueDelayMaximumNanoseconds: UInt64 = 0
    public var queueDroppedPackets: UInt64 = 0

    public init() {}
}

extension ProgramSet {
    /// What the planes did so far.
    public var planes: PlaneCounters {
        let run = shared.value.pointee
        var counters = PlaneCounters()
        counters.pacedSockets = run.share.1.sockets
        counters.clampedSockets = run.share.0.sockets
        counters.pacedUploads = run.share.1.limited != 0
        counters.heldDownloads = run.share.0.limited != 0 || run.queue.samples > 0
        counters.retransmittedSegments = run.tcp.retransmitted_segments
        counters.queueDelayAverageNanoseconds = run.queue.delay_sum_ns / UInt64(max(1, run.queue.samples))
        counters.queueDelayMaximumNanoseconds = run.queue.delay_max_ns
        counters.queueDroppedPackets = run.queue.dropped_packets
        return counters
    }

    /// Sends downloads through the queue of this device, by its index; 0: through none. Packets but TCP's that are
    /// larger than so many bytes go by.
    public func useQueue(_ device: Int32, largest: UInt32 = .max) {
        shared.value.pointee.queue.largest = largest
        shared.value.pointee.queue.device = UInt32(device)
    }

    /// Keeps new TCP connections from being made for so long: their first packet goes out when TCP tries again.
    public func holdConnections(milliseconds: UInt64) {
        shared.value.pointee.hold_until_ns =
            milliseconds == 0 ? 0 : Host.monotonicNanoseconds + milliseconds * 1_000_000
    }

    /// Takes in one sample of what waits in the queue.
    public func noteQueue(delayNanoseconds: UInt64, droppedPackets: UInt64) {
        shared.value.pointee.queue.samples += 1
        shared.value.pointee.queue.delay_sum_ns += delayNanoseconds
        shared.value.pointee.queue.delay_max_ns = max(shared.value.pointee.queue.delay_max_ns, delayNanoseconds)
        shared.value.pointee.queue.dropped_packets = droppedPackets
    }
}
