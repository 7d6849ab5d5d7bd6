import CLibNL
import Kernel
import Logging
import SystemPackage

/// A queue that holds the packets redirected to it to a rate, and shares the rate equally between TCP and all else.
///
/// For what comes in by devices it is an IFB device with HTB on it. That would take what goes out from its socket, so there
/// it is a macvlan device with HTB, above an IFB device whose egress leads back to the device that a packet came from. Its
/// end removes all of that.
package struct Queue: ~Copyable {
    /// So many a user other than root may have in a network namespace: a device has room for 64 programs.
    private static let mostOfAUser = 32

    // Destroyed in this order: while the device lives, so does its claim.
    private let ifb: IFBDevice
    private let claim: QueueClaim
    private let hierarchy: Hierarchy
    /// What queues the packets of each class.
    package let leafKind: LeafKind
    /// Whether the first packets of each flow have a class of their own, as they would wait behind all others.
    package var hasFresh: Bool { hierarchy.hasFresh(leafKind) }
    /// By how much packets are delayed, too; nil where they never were.
    private var delay: Delay?

    /// Makes the queue. `name` has at most 15 bytes and is unique in the network namespace; `alias` tells who made it. `rate`
    /// is in bytes a second, of frames. The lengths of the queue stay those for this rate when the rate changes.
    package init(
        named name: String, for side: Side = .ingress, in network: NetworkNamespace, alias: String, rate: UInt64,
        log: Logger
    ) throws(SystemError) {
        let claim = try QueueClaim(name, in: network)
        let ifb = try IFBDevice(named: name, in: network, log: log)
        try ifb.label(alias)
        // A device below is to be up first.
        if side == .egress { try ifb.start() }
        let hierarchy = try Queue.hierarchy(for: side, on: ifb)
        let leafKind = try hierarchy.build(rate: rate, ifb.route)
        try ifb.route.start(hierarchy.device, named: hierarchy.name)
        self.hierarchy = hierarchy
        self.leafKind = leafKind
        self.ifb = ifb
        self.claim = claim
    }

    private static func hierarchy(for side: Side, on ifb: borrowing IFBDevice) throws(SystemError) -> Hierarchy {
        switch side {
        case .ingress: return Hierarchy(device: ifb.index, name: ifb.name, drops: true)
        case .egress:
            let front = frontPrefix + ifb.name.dropFirst(side.queuePrefix.count)
            return Hierarchy(device: try ifb.addFront(named: front), name: front, drops: false)
        }
    }

    /// Of the macvlan device.
    private static let frontPrefix = "thv-"

    /// Whether a device is the part of a queue that packets are led to.
    package static func isFront(_ device: Device) -> Bool { device.name.hasPrefix(frontPrefix) }

    /// Makes the queue of the run `id`, which has at most 11 bytes.
    package static func ofRun(
        _ id: String, for side: Side = .ingress, in network: NetworkNamespace, rate: UInt64, log: Logger
    ) throws(SystemError) -> Queue {
        let label = QueueLabel(run: id)
        var attempt = 1
        while true {
            do throws(SystemError) {
                let queue = try Queue(
                    named: name(id, side, attempt), for: side, in: network, alias: label.text, rate: rate, log: log)
                try queue.requireRoom(label, side)
                return queue
            } catch {
                // Runs of several pid namespaces in one network namespace may have the same id.
                if error.errno != .addressInUse || attempt == 10 { throw error }
            }
            attempt += 1
        }
    }

    /// Any user can take the names that are told by a run's id: after two of them, one that nobody can guess.
    private static func name(_ id: String, _ side: Side, _ attempt: Int) -> String {
        if attempt <= 2 { return side.queuePrefix + id + (attempt == 1 ? "" : "-\(attempt)") }
        return side.queuePrefix + (0..<11).map { _ in "\(Int.random(in: 0...9))" }.joined()
    }

    /// Fails if the user has enough queues that were there before this one.
    private func requireRoom(_ label: QueueLabel, _ side: Side) throws(SystemError) {
        guard let user = label.user, user != 0 else { return }
        let older = try ifb.route.devices().count {
            // One that has no label yet may be the user's.
            $0.index < ifb.index && $0.isQueue(for: [side]) && ($0.alias == nil || $0.queueLabel?.user == user)
        }
        if older < Queue.mostOfAUser { return }
        throw SystemError(
            "create", "another queue", errno: .resourceBusy,
            hint: "user \(user) has \(older) in this network namespace already")
    }

    /// Where packets are to be redirected to (ifindex).
    package var device: Int32 { hierarchy.device }

    /// Of the device that says whose it is: its egress is the way out of a queue for uploads (ifindex).
    package var owner: Int32 { ifb.index }

    /// Has a program of type sched_cls see what has waited in a queue for uploads, by its descriptor.
    package func leadBack(by program: CInt, named name: String) throws(SystemError) {
        // All of it goes with the device.
        let device = try attempting("find", "device \(ifb.name)") { () throws(Errno) in try ifb.route.device(owner) }
        _ = try FilterPlace.add(to: device, ifb.route, .silent)
        _ = try DeviceFilter(
            program: program, named: name, on: device, .egress, in: ifb.network, to: owner, priority: 1)
    }

    /// The largest packet but TCP's that may wait, in bytes: a longer one is hardly ever taken, as there is no room.
    package static func largestPacket(rate: UInt64) -> UInt32 { UInt32(clamping: LeafLimits.bytes(rate) / 4) }

    /// A rate that holds nothing back.
    package static let unlimited = Hierarchy.unlimited.rate

    /// Fits the length of the queue to a rate that it is to have for long.
    package func resize(_ bytesPerSecond: UInt64) throws(SystemError) {
        try hierarchy.resize(leafKind, isDelayed: isDelayed, rate: bytesPerSecond, ifb.route)
    }

    /// Delays packets from now on, or delays them otherwise. At the first time, what waits is lost. `rate`: as for `resize`.
    package mutating func setDelay(_ delay: Delay, rate: UInt64) throws(SystemError) {
        if delay == self.delay || (!isDelayed && delay.nanoseconds == 0) { return }
        if isDelayed {
            try hierarchy.changeDelay(delay, ifb.route)
        } else {
            try hierarchy.addDelay(delay, leafKind, rate: rate, ifb.route)
        }
        self.delay = delay
    }

    private var isDelayed: Bool { delay != nil }

    /// Holds packets to another rate from now on, in bytes of frames a second.
    package func setRate(_ bytesPerSecond: UInt64) throws(SystemError) {
        try hierarchy.setRate(bytesPerSecond, ifb.route)
    }

    /// Bytes that a device has received and sent; nil where it is gone.
    package func traffic(of device: Int32) -> (received: UInt64, sent: UInt64)? { try? ifb.route.traffic(of: device) }

    /// What it holds, and what passed and was dropped since it was made.
    package func statistics() throws(SystemError) -> QueueStatistics {
        QueueStatistics(
            tcp: try leaf(.tcp), rest: try leaf(.rest), near: try hasNear ? leaf(.near) : .init(),
            fresh: try hasFresh ? leaf(.fresh) : .init())
    }

    private var hasNear: Bool { isDelayed && hierarchy.drops }

    private func leaf(_ leaf: Handle) throws(SystemError) -> QueueStatistics.Leaf {
        let isBehind = isDelayed && hierarchy.delayable.contains(leaf)
        let place = isBehind ? leaf.delayed : leaf.rawValue
        let (found, code) = ifb.route.qdisc(of: device, below: place, QueueStatistics.Leaf.init)
        guard code >= 0, let found else {
            let hint = "someone has removed it"
            throw SystemError("read", "the queue of device \(ifb.name)", errno: Errno(libnl: code), hint: hint)
        }
        return found
    }
}

extension QueueStatistics.Leaf {
    /// As the kernel counts for the qdisc `qdisc`.
    fileprivate init(_ qdisc: OpaquePointer) {
        passedPackets = rtnl_tc_get_stat(qdisc, RTNL_TC_PACKETS)
        passedBytes = rtnl_tc_get_stat(qdisc, RTNL_TC_BYTES)
        queuedPackets = rtnl_tc_get_stat(qdisc, RTNL_TC_QLEN)
        queuedBytes = rtnl_tc_get_stat(qdisc, RTNL_TC_BACKLOG)
        droppedPackets = rtnl_tc_get_stat(qdisc, RTNL_TC_DROPS)
    }
}
