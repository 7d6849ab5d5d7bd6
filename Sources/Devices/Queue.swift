import CLibNL
import Kernel
import Logging
import SystemPackage

/// A queue that holds the packets redirected to it to a rate, and shares the rate equally between TCP and all else.
/// It is an IFB device with HTB on it; its end removes both.
package struct Queue: ~Copyable {
    static let namePrefix = "thr-"
    /// So many a user other than root may have in a network namespace: a device has room for 64 programs.
    private static let mostOfAUser = 32

    // Destroyed in this order: while the device lives, so does its claim.
    private let ifb: IFBDevice
    private let claim: QueueClaim
    /// What queues the packets of each of the two classes.
    package let leafKind: LeafKind

    /// Makes the queue. `name` has at most 15 bytes and is unique in the network namespace; `alias` tells who made it. `rate`
    /// is in bytes a second, of frames. The lengths of the queue stay those for this rate when the rate changes.
    package init(
        named name: String, in network: NetworkNamespace, alias: String, rate: UInt64, log: Logger
    ) throws(SystemError) {
        let claim = try QueueClaim(name, in: network)
        let ifb = try IFBDevice(named: name, in: network, log: log)
        try ifb.label(alias)
        let leafKind = try Hierarchy(device: ifb.index, name: name).build(rate: rate, ifb.route)
        try ifb.start()
        self.ifb = ifb
        self.claim = claim
        self.leafKind = leafKind
    }

    /// Makes the queue of the run `id`, which has at most 11 bytes.
    package static func ofRun(
        _ id: String, in network: NetworkNamespace, rate: UInt64, log: Logger
    ) throws(SystemError) -> Queue {
        let label = QueueLabel(run: id)
        var attempt = 1
        while true {
            do throws(SystemError) {
                let queue = try Queue(named: name(id, attempt), in: network, alias: label.text, rate: rate, log: log)
                try queue.requireRoom(label)
                return queue
            } catch {
                // Runs of several pid namespaces in one network namespace may have the same id.
                if error.errno != .addressInUse || attempt == 10 { throw error }
            }
            attempt += 1
        }
    }

    /// Any user can take the names that are told by a run's id: after two of them, one that nobody can guess.
    private static func name(_ id: String, _ attempt: Int) -> String {
        if attempt <= 2 { return namePrefix + id + (attempt == 1 ? "" : "-\(attempt)") }
        return namePrefix + (0..<11).map { _ in "\(Int.random(in: 0...9))" }.joined()
    }

    /// Fails if the user has enough queues that were there before this one.
    private func requireRoom(_ label: QueueLabel) throws(SystemError) {
        guard let user = label.user, user != 0 else { return }
        let older = try ifb.route.devices().count {
            // One that has no label yet may be the user's.
            $0.index < ifb.index && $0.isQueue && ($0.alias == nil || $0.queueLabel?.user == user)
        }
        if older < Queue.mostOfAUser { return }
        throw SystemError(
            "create", "another queue", errno: .resourceBusy,
            hint: "user \(user) has \(older) in this network namespace already")
    }

    /// Where packets are to be redirected to (ifindex).
    package var device: Int32 { ifb.index }

    /// The largest packet but TCP's that may wait, in bytes: a longer one is hardly ever taken, as there is no room.
    package static func largestPacket(rate: UInt64) -> UInt32 { UInt32(clamping: LeafLimits.bytes(rate) / 4) }

    /// Fits the length of the queue to a rate that it is to have for long.
    package func resize(_ bytesPerSecond: UInt64) throws(SystemError) {
        let hierarchy = Hierarchy(device: ifb.index, name: ifb.name)
        try hierarchy.resize(leafKind, rate: bytesPerSecond, ifb.route)
    }

    /// Holds packets to another rate from now on, in bytes of frames a second.
    package func setRate(_ bytesPerSecond: UInt64) throws(SystemError) {
        try Hierarchy(device: ifb.index, name: ifb.name).setRate(bytesPerSecond, ifb.route)
    }

    /// What it holds, and what passed and was dropped since it was made.
    package func statistics() throws(SystemError) -> QueueStatistics {
        QueueStatistics(tcp: try leaf(.tcp), rest: try leaf(.rest))
    }

    private func leaf(_ leaf: Handle) throws(SystemError) -> QueueStatistics.Leaf {
        let (found, code) = ifb.route.qdisc(of: ifb.index, below: leaf.rawValue, QueueStatistics.Leaf.init)
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
