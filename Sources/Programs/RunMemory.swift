import CKernel
import CLibBPF
import CPrograms
import Glibc
import Kernel
import Logging
import SystemPackage
import Units

/// What the programs and processes of a run share: what it may do, and what it did.
package final class RunMemory {
    private let shared: SharedMemory<throttle_run>
    /// What more programs of the run are loaded with.
    package let maps: SharedMaps
    /// The budget that its packets are charged to, too; nil where there is none.
    package let group: GroupMemory?
    /// How much unused time may be caught up on.
    package let burst: TimeSpan
    package let counting: Counting
    /// Why it does without what it was asked for besides limits, if it does (--best-effort).
    package var omission: String?
    /// Of round trips, so many were told of.
    package internal(set) var samplesTaken: UInt64 = 0

    /// Makes it, for programs that are loaded later. `isGuest`: whether they will be on a cgroup that others are in, too;
    /// `isLate`: whether what they limit runs already; `quota`: what the run may move, in bytes; `isTimed`: whether round
    /// trips are to be known.
    package init(
        for kernel: KernelVersion, _ limits: Limits, scope: Scope = .all, budget: GroupBudget = .none,
        isGuest: Bool = false, isLate: Bool = false, quota: UInt64? = nil, isTimed: Bool = false
    ) throws(LoadError) {
        let object = try BPFObject(programs_maps())
        if case .shared(let descriptor) = budget { try object.use(descriptor, forMap: Map.group) }
        let isGrouped = if case .none = budget { false } else { true }
        // Earlier, the program for TCP's events can't tell them.
        try object.declare(
            scope, isGrouped: isGrouped, isGuest: isGuest, isLate: isLate, hasQuota: quota != nil, isTimed: isTimed,
            hasNetworkCookies: kernel >= KernelVersion(5, 15))
        if !isTimed { object.leaveOut(maps: SharedMaps.ofTimes) }
        try object.load()
        try object.fill(scope)
        shared = try SharedMemory<throttle_run>(of: object, Map.run)
        maps = try SharedMaps(of: object, isTimed: isTimed)
        group = isGrouped ? try GroupMemory(of: object) : nil
        burst = limits.burst
        counting = limits.counting
        asked = limits.rates
        rates = limits.rates
        if let quota { allot(quota) }
        if isTimed { run.pointee.times.queueing_ns = .max }
    }

    var run: UnsafeMutablePointer<throttle_run> { shared.value }
}

/// Limits.
extension RunMemory {
    /// What the run's user asked for.
    package var asked: Rates {
        get { Rates(bytesPerSecond: run.pointee.asked) }
        set { run.pointee.asked = (newValue.down.bytesPerSecond ?? 0, newValue.up.bytesPerSecond ?? 0) }
    }

    /// What holds: what was asked for, or what the group allots. Both directions change at once, from the next packet on.
    package var rates: Rates {
        get { run.pointee.limits.rates }
        set {
            let (down, up) = newValue.encoded(burst, counting)
            bucket_change(
                &run.pointee.limits, down, up, &run.pointee.meter.0.tat, &run.pointee.meter.1.tat,
                Host.monotonicNanoseconds)
        }
    }

    /// What the run may use at most: what was asked for, and no more than its group has.
    package var mostRates: Rates { group.map { asked.capped(by: $0.rates) } ?? asked }
}

/// What is in force.
extension RunMemory {
    /// What holds the limits besides the police.
    package private(set) var planes: Set<Plane> {
        get { Set(Plane.allCases.filter { run.pointee.state.planes & $0.bit != 0 }) }
        set { run.pointee.state.planes = newValue.reduce(0) { $0 | $1.bit } }
    }

    /// Does without planes.
    package func obstruct(_ error: any Error, _ log: Logger) {
        for direction in Direction.allCases { learnDevices(direction, false) }
        obstacle = "\(error)"
        log.info("not shaped: \(error)")
    }

    /// Whether those are attached that know the run's sockets: pace, window and shape take that.
    package var hasTCP: Bool {
        get { run.pointee.state.has_tcp != 0 }
        set { run.pointee.state.has_tcp = newValue ? 1 : 0 }
    }

    /// Says which planes are in force.
    package func tellPlanes(isShaped: Bool, isQueued: Bool = false) {
        var planes: Set<Plane> = isDelayed ? [.delay] : []
        if hasTCP && rates.up != .unlimited { planes.formUnion(isQueued ? [.pace, .queue] : [.pace]) }
        if hasTCP && rates.down != .unlimited { planes.formUnion(isShaped ? [.window, .shape] : [.window]) }
        self.planes = planes
    }

    /// Whether the parent has its programs.
    package var hasWitness: Bool {
        get { run.pointee.state.has_witness != 0 }
        set { run.pointee.state.has_witness = newValue ? 1 : 0 }
    }

    /// The inodes of other network namespaces than throttle's that have had queues: the last four.
    package private(set) var otherNetworks: [UInt64] {
        get { withUnsafeBytes(of: run.pointee.state.networks) { $0.bindMemory(to: UInt64.self).filter { $0 != 0 } } }
        set {
            withUnsafeMutableBytes(of: &run.pointee.state.networks) { memory in
                for (number, inode) in newValue.suffix(4).enumerated() {
                    memory.storeBytes(of: inode, toByteOffset: number * MemoryLayout<UInt64>.stride, as: UInt64.self)
                }
            }
        }
    }

    /// Keeps one in mind, for those who may have to clean up there.
    package func noteNetwork(_ inode: UInt64) {
        if !otherNetworks.contains(inode) { otherNetworks.append(inode) }
    }

    /// Why downloads don't wait in a queue, where they were to; at most 959 bytes.
    package var obstacle: String? {
        get {
            let text = withUnsafeBytes(of: run.pointee.state.obstacle) { $0.prefix { $0 != 0 }.map { $0 } }
            return text.isEmpty ? nil : String(decoding: text, as: UTF8.self)
        }
        set {
            withUnsafeMutableBytes(of: &run.pointee.state.obstacle) { memory in
                let text = Array((newValue ?? "").utf8.prefix(memory.count - 1))
                memory.copyBytes(from: text + [0])
            }
        }
    }
}

extension Plane {
    fileprivate var bit: UInt32 {
        switch self {
        case .police: 1
        case .pace: 2
        case .window: 4
        case .shape: 8
        case .queue: 16
        case .delay: 32
        }
    }
}

/// What one direction did so far. A payload is what is behind the transport header, wire bytes are layer 2 frames.
package struct Counters: Sendable, Equatable {
    package var passedPackets: UInt64 = 0
    package var passedPayloadBytes: UInt64 = 0
    package var passedWireBytes: UInt64 = 0
    package var droppedPackets: UInt64 = 0
    package var droppedPayloadBytes: UInt64 = 0
    /// Packets that TCP was made to keep for later; uploads only.
    package var deferredPackets: UInt64 = 0
    /// Time from the first packet that was charged to the last; 0 where nothing is limited.
    package var activeNanoseconds: UInt64 = 0
    /// Packets, and bytes from their network headers on, that the parent's program saw; nil where it isn't attached.
    package var witnessPackets: UInt64?
    package var witnessBytes: UInt64?
    /// Packets of exempt peers, and their bytes from their network headers on; nothing else counts them.
    package var exemptPackets: UInt64 = 0
    package var exemptBytes: UInt64 = 0
    /// Packets that were lost as was asked for; of uploads, they passed before.
    package var lostPackets: UInt64 = 0
    /// Those that were lost before they passed.
    package var lostBefore: UInt64 = 0

    package init() {}

    /// Bytes that passed, as a limit counts them.
    package func passedBytes(_ counting: Counting) -> UInt64 {
        counting == .wire ? passedWireBytes : passedPayloadBytes
    }

    /// Each call of the run's program passes, drops or defers one packet.
    package var programCalls: UInt64 {
        passedPackets + droppedPackets + deferredPackets + exemptPackets + lostBefore
    }

    /// Whether there was traffic, and none of it with a peer that is limited.
    package var isAllExempt: Bool { exemptPackets > 0 && exemptPackets == programCalls }
}

/// What the planes did so far.
package struct PlaneCounters: Sendable, Equatable {
    /// Sockets whose uploads were paced, and whose receive windows were clamped.
    package var pacedSockets: UInt32 = 0
    package var clampedSockets: UInt32 = 0
    /// Whether the limit held uploads back that were paced or queued, and downloads that were clamped or queued.
    package var heldUploads = false
    package var heldDownloads = false
    /// Segments that the run's sockets sent again.
    package var retransmittedSegments: UInt64 = 0
    /// What became of packets in the queues.
    package var downQueue = QueueCounters()
    package var upQueue = QueueCounters()

    package init() {}

    package func queue(_ direction: Direction) -> QueueCounters { direction == .down ? downQueue : upQueue }
}

/// What the queues of one direction did so far.
package struct QueueCounters: Sendable, Equatable {
    /// How long packets waited, as sampled; 0 where none did.
    package var delayAverageNanoseconds: UInt64 = 0
    package var delayMaximumNanoseconds: UInt64 = 0
    package var droppedPackets: UInt64 = 0

    package init() {}

    fileprivate init(_ queue: throttle_queue) {
        delayAverageNanoseconds = queue.delay_sum_ns / UInt64(max(1, queue.samples))
        delayMaximumNanoseconds = queue.delay_max_ns
        droppedPackets = queue.dropped_packets
    }
}

/// What happened.
extension RunMemory {
    /// When the last packet was charged, in ns of CLOCK_MONOTONIC; 0: none was.
    package var lastCharge: UInt64 { max(run.pointee.meter.0.last_ns, run.pointee.meter.1.last_ns) }

    /// Whether any packet passed.
    package var hasTraffic: Bool { run.pointee.meter.0.passed_packets > 0 || run.pointee.meter.1.passed_packets > 0 }

    /// Has the next packet that is charged sound the alarm. Returns whether none was since `lastCharge`.
    package func setAlarm(since lastCharge: UInt64) -> Bool {
        run.pointee.asleep = 1
        kernel_fence()
        return self.lastCharge == lastCharge
    }

    /// What a direction did so far.
    package func counters(_ direction: Direction) -> Counters {
        // The witness first: what it saw, the run's program has seen before.
        let witness = direction.pick(from: run.pointee.witness)
        kernel_fence()
        let meter = direction.pick(from: run.pointee.meter)
        let exempt = direction.pick(from: run.pointee.exempt)
        var counters = Counters()
        if hasWitness { (counters.witnessPackets, counters.witnessBytes) = (witness.packets, witness.bytes) }
        counters.passedPackets = meter.passed_packets
        counters.passedPayloadBytes = meter.passed_payload_bytes
        counters.passedWireBytes = meter.passed_wire_bytes
        counters.droppedPackets = meter.dropped_packets
        counters.droppedPayloadBytes = meter.dropped_payload_bytes
        counters.deferredPackets = direction == .down ? 0 : run.pointee.tcp.deferred_packets
        counters.exemptPackets = exempt.packets
        counters.exemptBytes = exempt.bytes
        counters.lostPackets = direction.pick(from: run.pointee.lost)
        counters.lostBefore = direction == .down ? counters.lostPackets : 0
        counters.activeNanoseconds = meter.last_ns - min(meter.first_ns, meter.last_ns)
        return counters
    }

    /// What the planes did so far.
    package var planeCounters: PlaneCounters {
        let (share, tcp, queue) = (run.pointee.share, run.pointee.tcp, run.pointee.queue)
        var counters = PlaneCounters()
        counters.pacedSockets = share.1.sockets
        counters.clampedSockets = share.0.sockets
        counters.heldUploads = share.1.limited != 0 || queue.1.samples > 0
        counters.heldDownloads = share.0.limited != 0 || queue.0.samples > 0
        counters.retransmittedSegments = tcp.retransmitted_segments
        counters.downQueue = QueueCounters(queue.0)
        counters.upQueue = QueueCounters(queue.1)
        return counters
    }
}

/// A device that packets of the run pass.
package struct UsedDevice: Hashable, Sendable {
    /// Its network namespace: the cookie, 0 for throttle's own.
    package let network: UInt64
    package let index: Int32
    /// Down of each, up only where something leaves by it that pacing can't reach.
    package let direction: Direction

    package init(network: UInt64, index: Int32, direction: Direction) {
        self.network = network
        self.index = index
        self.direction = direction
    }
}

/// The devices that its packets pass.
extension RunMemory {
    /// Whether the guard is told of new ones, by an `Alarm`. The first packet of a connection is held until they are
    /// settled for downloads.
    package func learnsDevices(_ direction: Direction) -> Bool { direction.pick(from: run.pointee.learns) != 0 }

    package func learnDevices(_ direction: Direction, _ isOn: Bool) {
        direction.pick(from: &run.pointee.learns).pointee = isOn ? 1 : 0
    }

    /// Says that all is done that can be for packets of a device. `leads`: whether uploads wait in a queue from now on.
    package func settle(_ device: UsedDevice, leads: Bool = false) {
        if device.direction == .up { run.pointee.queue.1.is_awaited = 0 }
        forEachDevice(device.direction) { used, place in
            let state = leads ? THROTTLE_DEVICE_LEADS : THROTTLE_DEVICE_SETTLED
            if used == device { place.pointee.state = state.rawValue }
        }
    }

    /// The guard will be told of these again.
    package func forget(_ direction: Direction, where isGone: (UsedDevice) -> Bool = { _ in true }) {
        forEachDevice(direction) { used, place in
            if isGone(used) { place.pointee.state = THROTTLE_DEVICE_NONE.rawValue }
        }
    }

    private func forEachDevice(
        _ direction: Direction, _ body: (UsedDevice, UnsafeMutablePointer<throttle_device>) -> Void
    ) {
        withUnsafeMutablePointer(to: &run.pointee.devices) { devices in
            direction.pick(from: devices).withMemoryRebound(to: throttle_device.self, capacity: Int(THROTTLE_DEVICES)) {
                places in
                for number in 0..<Int(THROTTLE_DEVICES)
                where places[number].state != THROTTLE_DEVICE_NONE.rawValue {
                    let used = UsedDevice(
                        network: places[number].network, index: Int32(truncatingIfNeeded: places[number].index),
                        direction: direction)
                    body(used, places + number)
                }
            }
        }
    }
}

/// The queues.
extension RunMemory {
    private func queue(_ direction: Direction) -> UnsafeMutablePointer<throttle_queue> {
        direction.pick(from: &run.pointee.queue)
    }

    /// Whether packets of a direction are led through queues. Downloads but TCP's that are larger than so many bytes go by.
    package func useQueues(_ direction: Direction, _ isOn: Bool, largest: UInt32 = .max) {
        queue(direction).pointee.largest = largest
        queue(direction).pointee.cost = 0
        queue(direction).pointee.in_use = isOn ? 1 : 0
    }

    /// The rate of the queue for downloads in bytes of frames a second, if it is the only one: what it would let by at once
    /// needn't go there. 0: all has to.
    package func letBy(_ rate: UInt64) {
        run.pointee.queue.0.cost = rate < RunMemory.leastToLetBy ? 0 : 65536 * 1_000_000_000 / rate
    }

    /// Packets that went into queues for downloads, less those that came out as far as that was seen.
    package var underway: UInt64 { run.pointee.queue.0.led &- run.pointee.queue.0.arrived }

    /// Says that nothing waits, as the program would else take for waiting what never reached a socket, or was seen twice.
    package func noteAstray(_ packets: UInt64) { run.pointee.queue.0.astray = packets }

    /// Below it, no full frame of Ethernet is within the 4 ms that pass at once.
    private static let leastToLetBy: UInt64 = 250 * 1514

    /// Leads nothing more through queues, and learns of no devices for it.
    package func leaveQueues(_ direction: Direction) {
        learnDevices(direction, false)
        useQueues(direction, false)
    }

    /// Takes in one sample of what waits in the queue.
    package func noteQueue(_ direction: Direction, delayNanoseconds: UInt64, droppedPackets: UInt64) {
        let queue = queue(direction)
        queue.pointee.samples += 1
        queue.pointee.delay_sum_ns += delayNanoseconds
        queue.pointee.delay_max_ns = max(queue.pointee.delay_max_ns, delayNanoseconds)
        queue.pointee.dropped_packets = droppedPackets
    }

    /// How many sockets but TCP's have sent something through the queue for uploads.
    package var senders: UInt32 { run.pointee.queue.1.senders }

    /// Says that the buffers of so many are bounded, or can't be.
    package func noteBounded(_ senders: UInt32) { run.pointee.queue.1.bounded = senders }

    /// Makes a socket the run's that was made before, by a descriptor of our own. `network`: the cookie of its network
    /// namespace; 0 where that can't be told, or is throttle's own. `pacing`: the rates that `pace` gives it, and that it had.
    package func adopt(
        _ socket: CInt, network: UInt64, pacing: (rate: UInt64, own: UInt64)?, pace: () -> Void
    ) throws(Errno) {
        var (key, value) = (socket, throttle_socket())
        value.network = network
        value.is_adopted = 1
        value.pacing_rate = pacing?.rate ?? 0
        // From 4 GB/s on nothing is paced.
        value.own_pacing = pacing.flatMap { UInt32(exactly: $0.own) } ?? 0
        if network != 0 { run.pointee.has_strangers = 1 }
        let sockets = maps.descriptor(of: Map.sockets)
        // What it had is written down before that changes, for the guard to give it back; and nothing is charged until it is
        // paced: TCP may have megabytes to send at once.
        value.is_pending = 1
        let isNew = bpf_map_update_elem(sockets, &key, &value, UInt64(BPF_NOEXIST)) == 0
        if !isNew && errno != EEXIST { throw Errno(rawValue: errno) }
        pace()
        // One that had the mark keeps what it has.
        if !isNew { return }
        value.is_pending = 0
        if bpf_map_update_elem(sockets, &key, &value, UInt64(BPF_EXIST)) < 0 { throw Errno(rawValue: errno) }
    }

    /// Whether it was the run's; it isn't any more.
    package func release(_ socket: CInt) -> Bool {
        var key = socket
        return bpf_map_delete_elem(maps.descriptor(of: Map.sockets), &key) == 0
    }

    /// Bytes of the largest datagram that may have been sent in fragments by a socket that we have open; 0 where none was,
    /// nil where the socket isn't the run's.
    package func largestDatagram(of socket: CInt) -> UInt32? {
        var (key, value) = (socket, throttle_socket())
        return bpf_map_lookup_elem(maps.descriptor(of: Map.sockets), &key, &value) == 0 ? value.largest : nil
    }

    /// Bytes of uploads that were charged beyond what the limit had for them, until now.
    package var uploadLead: UInt64 {
        let (tat, now) = (run.pointee.meter.1.tat, Host.monotonicNanoseconds)
        return UInt64(Double(tat - min(tat, now)) / 1e9 * Double(rates.up.bytesPerSecond ?? 0))
    }
}
