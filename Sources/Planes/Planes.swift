import Cgroups
import Devices
import Glibc
import Kernel
import Logging
import Programs
import SystemPackage
import Units

/// What the guard sets up beyond the police, and keeps right. Its scope undoes it. The run's memory tells what is in force,
/// and what is in the way.
package struct Planes: ~Copyable {
    /// Between two looks at queues while something moves, in ns.
    package static let period: UInt64 = 100_000_000

    /// A command may make as many as it likes.
    private static let mostNetworks = 8

    // Destroyed in this order: the last made goes first.
    /// For each direction, of each network namespace in which the run receives or sends something.
    var networks: [NetworkPlanes.Place: NetworkPlanes] = [:]
    /// Loaded ahead for the first of the networks.
    var spare: QueueProgram?
    private var divisions: [Direction: QueueDivision] = [:]
    private var buffers = SenderBuffers()
    /// When those were bound, and for how many senders.
    private var bounded: (at: UInt64, senders: UInt32) = (0, 0)
    /// Whether uploads were to have a queue, and couldn't.
    private var hasUploadObstacle = false
    /// Whether some of them wait there, as they can't be paced.
    private var queuesUploads = false
    /// Since when more of downloads waits than 200 ms of the limit, in a run whose queue drains; nil where none does.
    private var drainedSince: UInt64?
    /// What the queues are set to.
    var impairment = Impairment.none
    private let cgroup: CgroupDirectory
    let memory: RunMemory
    private let mode: Mode
    private let kernel: KernelVersion
    var run: NetworkPlanes.Identity
    let log: Logger

    /// Sets nothing up: `follow` does, and each device that the run uses gets its queue by `use`. `members`: the cgroup of
    /// all that is limited.
    package init(
        _ memory: RunMemory, _ mode: Mode, _ kernel: KernelVersion, _ run: borrowing RunCgroup,
        members: consuming CgroupDirectory, _ log: Logger
    ) {
        cgroup = members
        self.memory = memory
        self.mode = mode
        self.kernel = kernel
        self.log = log
        self.run = NetworkPlanes.Identity(id: run.id, mark: 1 << UInt16(run.depth % 16))
    }

    /// Loads what the first queue will need.
    package mutating func prepare() {
        if memory.learnsDevices(.down) && networks.isEmpty {
            spare = try? QueueProgram(sharing: memory.maps, for: .usual(kernel))
        }
    }

    /// Makes the planes fit the limits. A queue that couldn't be set up, or that was lost, is tried again only if `retries`:
    /// that takes long, and many do this often.
    package mutating func follow(retries: Bool = true) {
        if let rate = queueRate(.down) {
            if mode != .police && (retries || memory.obstacle == nil) { shape(rate, retries) }
        } else {
            stop(.down)
            memory.obstacle = nil
        }
        if let rate = queueRate(.up) {
            if mode != .police && (retries || !hasUploadObstacle) { queueUploads(rate) }
        } else {
            stop(.up)
        }
        tellPlanes()
    }

    /// What a queue is to hold packets to; nil where there needs to be none.
    func queueRate(_ direction: Direction) -> UInt64? {
        if case .bytesPerSecond(let rate) = memory.rates[direction] { return rate }
        let needsQueue = direction == .down ? memory.impairment.isDelayed : memory.impairment != .none
        return needsQueue ? Queue.unlimited : nil
    }

    private func tellPlanes() {
        memory.tellPlanes(isShaped: has(.down), isQueued: queuesUploads && has(.up))
    }

    private func has(_ direction: Direction) -> Bool { networks.keys.contains { $0.direction == direction } }

    private func networks(_ direction: Direction) -> [NetworkPlanes.Place: NetworkPlanes] {
        networks.filter { $0.key.direction == direction }
    }

    /// Holds the queues for downloads to a limit, and has new ones made as devices are used. In mode shape, and where the run
    /// has used some before, one is made now.
    private mutating func shape(_ rate: UInt64, _ isAsked: Bool) {
        do {
            let isNeeded = mode == .shape || memory.hasTraffic
            if isAsked && !has(.down) && isNeeded {
                try makeNetwork(NetworkPlanes.Place(network: 0, direction: .down), rate)
            }
            try hold(.down, to: rate)
            memory.obstacle = nil
        } catch {
            giveUp(.down, error)
            log.info("not shaped: \(error)")
        }
    }

    /// Holds those for uploads to a limit; they are made when something is sent that pacing can't reach.
    private mutating func queueUploads(_ rate: UInt64) {
        do {
            try hold(.up, to: rate)
            hasUploadObstacle = false
            if queuesUploads { boundBuffers(rate) }
        } catch {
            giveUp(.up, error)
            log.info("uploads but TCP's aren't queued: \(error)")
        }
    }

    private mutating func hold(_ direction: Direction, to rate: UInt64) throws(SystemError) {
        let own = networks(direction)
        for network in own.values { try network.resize(rate) }
        let held = max(rate, drainingRate(rate, direction, own))
        useQueues(direction, rate)
        try divisions[direction]?.follow(limit: held, own)
        if !memory.learnsDevices(direction) { memory.forget(direction) }
        memory.learnDevices(direction, true)
    }

    /// What waits has passed the line already. Where a run gives way, it is to hold up neither others nor the next
    /// packets' acknowledgements: windows hold the senders. Where those don't shrink, as they are told in units of more than
    /// two segments (from 128 MB of tcp_rmem on), the queue does it after a second.
    private mutating func drainingRate(
        _ rate: UInt64, _ direction: Direction, _ own: [NetworkPlanes.Place: NetworkPlanes]
    ) -> UInt64 {
        if direction == .up || !memory.drains { return 0 }
        let draining = own.values.reduce(0) { $0 + $1.waitingBytes } * Planes.drainings
        if draining <= rate {
            drainedSince = nil
            return 0
        }
        let now = Host.monotonicNanoseconds
        let since = drainedSince ?? now
        drainedSince = since
        if now - since > Planes.longestDraining { return 0 }
        return min(draining, memory.asked.down.bytesPerSecond ?? .max)
    }

    /// In ns.
    private static let longestDraining: UInt64 = 1_000_000_000
    /// What waits is to leave so many times a second.
    private static let drainings: UInt64 = 5

    private func useQueues(_ direction: Direction, _ rate: UInt64) {
        if !has(direction) || (direction == .up && !queuesUploads) { return }
        memory.useQueues(direction, true, largest: NetworkPlanes.largestPacket(rate))
    }

    /// Does without queues.
    private mutating func giveUp(_ direction: Direction, _ error: any Error) {
        stop(direction)
        networks = networks.filter { $0.key.direction != direction }
        divisions[direction] = nil
        switch direction {
        case .down: memory.obstacle = queueRate(.down) == nil ? nil : "\(error)"
        case .up: hasUploadObstacle = true
        }
        tellPlanes()
    }

    /// Whether packets waited in a queue at the last step.
    package func isWaiting(_ direction: Direction) -> Bool {
        networks.contains { $0.key.direction == direction && $0.value.isWaiting }
    }

    /// Readable when devices have changed.
    package var watchDescriptors: [CInt] { networks.values.map(\.watchDescriptor) }

    /// Whether there is a queue to be looked at.
    package var hasQueues: Bool { !networks.isEmpty }

    package mutating func step() {
        for (place, network) in networks {
            do throws(SystemError) {
                try network.step()
            } catch {
                lose(place, error)
            }
        }
        for direction in Direction.allCases {
            let own = networks(direction)
            if memory.rates[direction] != .unlimited { divisions[direction]?.step(own) }
        }
        if isWaiting(.up) { boundBuffers() }
    }

    /// Does without a queue that somebody has removed. In other network namespaces than throttle's the command may do that.
    private mutating func lose(_ place: NetworkPlanes.Place, _ error: SystemError) {
        let what = place.direction == .down ? "downloads" : "uploads"
        if place.network == 0 {
            let plane = place.direction == .down ? Plane.shape : .queue
            if memory.planes.contains(plane) { log.warning("\(what) don't wait in a queue any more: \(error)") }
            return giveUp(place.direction, error)
        }
        log.info("\(what) don't wait in a queue of another network namespace any more: \(error)")
        leave(place)
        tellPlanes()
    }

    mutating func leave(_ place: NetworkPlanes.Place) {
        networks[place] = nil
        memory.forget(place.direction) { $0.network == place.network }
    }

    /// Waits until what the run has sent has left, a second at most: its senders may have ended.
    package func drain() {
        let end = Host.monotonicNanoseconds + Planes.round
        for network in networks(.up).values {
            while network.hasDatagrams && Host.monotonicNanoseconds < end { usleep(2000) }
        }
    }

    /// Leads nothing more through queues. What waits there goes on, unless they end, too: nothing of the run may be left
    /// then.
    package mutating func stop() {
        for direction in Direction.allCases { stop(direction) }
    }

    private mutating func stop(_ direction: Direction) {
        memory.leaveQueues(direction)
        if direction == .down { memory.isDelayed = false }
        if direction == .up && queuesUploads {
            queuesUploads = false
            buffers.release(cgroup.allProcesses)
        }
    }
}

/// The senders of what waits to leave.
extension Planes {
    private static let round: UInt64 = 1_000_000_000

    /// Bounds what they may have waiting: again where there are more of them, and every second.
    package mutating func boundBuffers() {
        let now = Host.monotonicNanoseconds
        guard queuesUploads, now > bounded.at + Planes.round || memory.senders != bounded.senders,
            case .bytesPerSecond(let rate) = memory.rates.up
        else { return }
        boundBuffers(rate)
    }

    private mutating func boundBuffers(_ rate: UInt64, isFirst: Bool = false) {
        bounded = (Host.monotonicNanoseconds, memory.senders)
        buffers.bound(cgroup.allProcesses, rate, memory, isFirst: isFirst)
        memory.noteBounded(bounded.senders)
    }
}

/// Devices that the run uses.
extension Planes {
    /// Has what passes a device wait in a queue, as far as that is possible.
    package mutating func use(_ device: UsedDevice) {
        var leads = false
        // First of all, connections wait for it.
        defer { memory.settle(device, leads: leads) }
        guard memory.learnsDevices(device.direction), let rate = queueRate(device.direction) else { return }
        let place = NetworkPlanes.Place(network: device.network, direction: device.direction)
        do {
            try makeNetwork(place, rate)
            // Before they fill.
            if place.direction == .up {
                queuesUploads = true
                boundBuffers(rate, isFirst: true)
            }
            try networks[place]?.hook(device.index)
            leads = device.direction == .up
            if device.direction == .down {
                memory.obstacle = nil
                if impairment != .none { try hook(device.index, .up, of: device.network) }
            }
        } catch {
            refuse(place, error)
        }
        tellPlanes()
        useQueues(device.direction, rate)
    }

    /// Police holds what passes the device.
    private mutating func refuse(_ place: NetworkPlanes.Place, _ error: any Error) {
        let what = place.direction == .down ? "not shaped" : "uploads but TCP's aren't queued"
        log.info("\(what)\(place.network == 0 ? "" : " in another network namespace"): \(error)")
        guard let network = networks[place] else {
            if place.network == 0 { giveUp(place.direction, error) }
            return
        }
        // Where there is nothing for it, it is none; mode shape has made it before it was needed.
        let isKept = mode == .shape && place.direction == .down
        if !network.hasHooks && !isKept { networks[place] = nil }
        let isAlone = !networks(.down).values.contains(where: \.hasHooks)
        if place.direction == .down && isAlone { memory.obstacle = "\(error)" }
    }

    mutating func makeNetwork(_ place: NetworkPlanes.Place, _ rate: UInt64) throws {
        if networks[place] != nil { return }
        if networks(place.direction).count == Planes.mostNetworks {
            throw SystemError(
                "create", "another queue", errno: .resourceBusy,
                hint: "the run has them in \(Planes.mostNetworks) network namespaces already")
        }
        let program = place.direction == .down ? spare.take() : nil
        networks[place] = try NetworkPlanes(
            at: place, in: try find(place.network), rate, memory, kernel, run, program, log)
        if impairment.isDelayed { try networks[place]?.setDelay(Delay(impairment)) }
        if let network = networks[place]?.network, place.network != 0 { memory.noteNetwork(network.inode) }
        if divisions[place.direction] == nil {
            divisions[place.direction] = QueueDivision(place.direction, limit: rate, memory)
        }
    }

    /// The network namespace that a process of the run is in.
    private func find(_ cookie: UInt64) throws(SystemError) -> NetworkNamespace {
        if cookie == 0 { return try .current() }
        var failure: SystemError?
        var seen: Set<UInt64> = []
        for process in cgroup.allProcesses {
            do throws(SystemError) {
                let network = try NetworkNamespace.of(process: process)
                if seen.insert(network.inode).inserted, try network.cookie() == cookie { return network }
            } catch {
                failure = error
            }
        }
        throw failure ?? SystemError("find", "its network namespace", errno: .noSuchProcess)
    }

    /// Bytes that all together have received and sent by the devices of the run.
    package var traffic: (received: UInt64, sent: UInt64) {
        networks(.down).values.map(\.traffic).reduce((0, 0)) { ($0.received + $1.received, $0.sent + $1.sent) }
    }

    /// Whether some queues are in other network namespaces than throttle's.
    package var hasStrangers: Bool { networks.keys.contains { $0.network != 0 } }

    /// Leaves the network namespaces that no process of the run is in any more: we would keep them from their end.
    package mutating func leaveDeserted() {
        if !hasStrangers { return }
        let inhabited = Set(cgroup.allProcesses.compactMap { try? NetworkNamespace.of(process: $0).inode })
        for (place, network) in networks where place.network != 0 && !inhabited.contains(network.network.inode) {
            leave(place)
            log.debug("left a network namespace")
        }
        tellPlanes()
    }
}
