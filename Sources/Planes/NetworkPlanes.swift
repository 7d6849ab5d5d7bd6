import Devices
import Kernel
import Logging
import Programs
import SystemPackage

/// What holds one direction in one network namespace: the queue that its packets wait in, and what leads them there from
/// each device that the run uses. A class, as no dictionary holds what can't be copied.
final class NetworkPlanes {
    /// Which one that is.
    struct Place: Hashable {
        /// What programs know the namespace by; 0 for throttle's own.
        let network: UInt64
        let direction: Direction
    }

    // Destroyed in this order: the last made goes first.
    private var hooks: [Int32: DeviceHook] = [:]
    /// The one for most devices.
    private let program: QueueProgram
    private var queue: Queue
    private let watch: DeviceWatch
    let network: NetworkNamespace
    private let place: Place
    /// The bit that tells packets which were in this queue from others.
    private let mark: UInt16
    /// Whether its programs can delay packets, and lose them.
    private let impairs: Bool
    /// What the lengths of the queue were made for.
    private var size: UInt64
    /// Of frames, in bytes a second, as last set.
    private var rate: UInt64
    /// What waits now, and what has passed, in bytes of frames.
    private(set) var waitingBytes: UInt64 = 0
    private(set) var passedBytes: UInt64 = 0
    private let memory: RunMemory
    private let kernel: KernelVersion
    private let log: Logger

    /// Makes the queue for a limit in bytes a second. `program`: loaded already, where it is.
    init(
        at place: Place, in network: NetworkNamespace, _ rate: UInt64, _ memory: RunMemory, _ kernel: KernelVersion,
        _ run: Identity, _ program: consuming QueueProgram?, _ log: Logger
    ) throws {
        let watch = try DeviceWatch(in: network)
        let way = place.direction == .down ? QueueProgram.Way.usual(kernel) : .hold
        let loaded =
            try program
            ?? QueueProgram(
                sharing: memory.maps, for: way, mark: run.mark, network: place.network, impairs: run.impairs)
        let queue = try Queue.ofRun(run.id, for: place.direction.side, in: network, rate: rate, log: log)
        try loaded.lead(to: queue.device, hasFresh: queue.hasFresh)
        if place.direction == .up {
            let back = try QueueProgram(sharing: memory.maps, for: .back, mark: run.mark)
            try queue.leadBack(by: back.descriptor, named: back.way.name)
        }
        self.program = loaded
        self.queue = queue
        self.watch = watch
        self.network = network
        self.place = place
        (mark, impairs) = (run.mark, run.impairs)
        self.memory = memory
        self.kernel = kernel
        self.log = log
        size = rate
        self.rate = rate
    }

    var watchDescriptor: CInt { watch.descriptor }

    var isWaiting: Bool { waitingBytes > 0 }

    var hasHooks: Bool { !hooks.isEmpty }

    /// Leads what passes a device through the queue. Nothing is done where that is so already.
    func hook(_ index: Int32) throws {
        if hooks[index] != nil { return }
        // A new one each time: it isn't behind on answers that were lost.
        let route = try network.routeSocket()
        let device = try attempting("find", "device \(index)") { () throws(Errno) in try route.device(index) }
        // What sit receives in large pieces, an IFB drops: their transport header isn't where the kernel says (tried on
        // Linux 6.12.117 and 7.3).
        if place.direction == .down && (device.kind == "ifb" || device.kind == "sit" || device.hasMaster) {
            throw SystemError("shape", "downloads from \(device.name)", errno: .notSupported)
        }
        // Nobody's filters are to be passed over for it: at egress they see a packet when it comes back.
        let byLink =
            kernel >= DeviceLink.oldestKernel && (place.direction == .up || !route.hasIngressQdisc(index))
        do {
            hooks[index] = try hook(device, byLink: byLink)
        } catch let error as SystemError where byLink && error.errno == .outOfRange {
            log.debug("\(error)")
            hooks[index] = try hook(device, byLink: false)
        }
        log.info(
            place.direction == .down
                ? "downloads from device \(device.name) wait in a queue"
                : "uploads to device \(device.name) can wait in a queue")
    }

    private func hook(_ device: Device, byLink: Bool) throws -> DeviceHook {
        let hasEthernet = device.isEthernet || device.isLoopback
        let way = place.direction == .up ? QueueProgram.Way.hold : byLink ? .link : .filter
        if hasEthernet && way == program.way {
            return try DeviceHook(device, in: network, to: target, program, byLink: byLink, log)
        }
        let program = try QueueProgram(
            sharing: memory.maps, for: way, hasEthernet: hasEthernet, mark: mark, network: place.network,
            impairs: impairs)
        try program.lead(to: queue.device, hasFresh: queue.hasFresh)
        return try DeviceHook(device, in: network, to: target, program, byLink: byLink, log)
    }

    /// What filters name.
    private var target: Int32 { place.direction == .down ? queue.device : queue.owner }

    /// Fits the queue to a limit that it is to have for long.
    func resize(_ limit: UInt64) throws(SystemError) {
        if limit <= size + size / 4 && limit >= size - size / 4 { return }
        size = limit
        try queue.resize(limit)
    }

    /// Bytes of a packet but TCP's that may wait, at a limit.
    static func largestPacket(_ limit: UInt64) -> UInt32 { Queue.largestPacket(rate: limit) }

    func setRate(_ bytesPerSecond: UInt64) throws(SystemError) {
        if bytesPerSecond == rate { return }
        rate = bytesPerSecond
        try queue.setRate(bytesPerSecond)
    }

    /// Takes in what changed since the last step. Fails where somebody removed the queue: what is led there is dropped.
    func step() throws(SystemError) {
        forgetDeparted()
        let underway = memory.underway
        let statistics = try queue.statistics()
        waitingBytes = statistics.queuedBytes
        if place.direction == .down && !isWaiting && memory.underway == underway { memory.noteAstray(underway) }
        passedBytes = statistics.passedBytes
        if isWaiting {
            memory.noteQueue(
                place.direction,
                delayNanoseconds: UInt64(Double(waitingBytes) / Double(rate) * 1e9),
                droppedPackets: statistics.droppedPackets)
        }
    }

    /// Delays what is led through the queue from now on.
    func setDelay(_ delay: Delay) throws(SystemError) { try queue.setDelay(delay, rate: size) }

    /// The devices that packets may pass, as far as they can be led to a queue.
    func usableDevices() throws(SystemError) -> [Device] {
        try network.routeSocket().devices().filter {
            $0.isUp && !$0.hasMaster && $0.kind != "ifb" && !Queue.isFront($0)
        }
    }

    /// Bytes that its devices have received and sent, but loopback: that is no line.
    var traffic: (received: UInt64, sent: UInt64) {
        hooks.keys.filter { $0 != NetworkPlanes.loopback }.compactMap { queue.traffic(of: $0) }
            .reduce((0, 0)) { ($0.received + $1.received, $0.sent + $1.sent) }
    }

    /// Its index in every network namespace.
    private static let loopback: Int32 = 1

    /// Whether anything but TCP's waits now: TCP would send that again.
    var hasDatagrams: Bool { ((try? queue.statistics())?.rest.queuedPackets ?? 0) > 0 }

    /// Another device may get the index, or the same come back.
    private func forgetDeparted() {
        let departed: Set<Int32>
        if let gone = watch.drain() {
            departed = gone
        } else if let present = try? network.routeSocket().devices() {
            departed = Set(hooks.keys).subtracting(present.map(\.index))
        } else {
            return
        }
        if departed.isEmpty { return }
        hooks = hooks.filter { !departed.contains($0.key) }
        memory.forget(place.direction) { $0.network == place.network && departed.contains($0.index) }
    }
}

extension NetworkPlanes {
    /// What queues need to know of their run.
    struct Identity {
        let id: String
        /// A bit that no run around it or inside has.
        let mark: UInt16
        /// Whether its network was ever to be slow.
        var impairs = false
    }
}

extension QueueProgram.Way {
    /// For downloads: by link, since there are such.
    static func usual(_ kernel: KernelVersion) -> Self { kernel >= DeviceLink.oldestKernel ? .link : .filter }
}

extension Direction {
    /// Where its packets pass a device.
    var side: Side { self == .down ? .ingress : .egress }
}
