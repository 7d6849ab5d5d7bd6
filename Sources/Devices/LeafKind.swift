import CLibNL
import Kernel
import SystemPackage

/// What queues the packets of a class.
package enum LeafKind: String, Sendable {
    /// Shares the class between its flows.
    case fqCodel = "fq_codel"
    /// First in, first out: where the kernel has no fq_codel.
    case bfifo
}

extension Hierarchy {
    /// Gives the classes their qdiscs, and the first packets of each flow a class where they need one (`hasFresh`). Returns
    /// the qdiscs' kind.
    func addLeafQdiscs(rate: UInt64, _ route: borrowing RouteSocket) throws(SystemError) -> LeafKind {
        var kind = LeafKind.fqCodel
        for leaf in [Handle.tcp, .rest] {
            var code = add(kind, to: leaf, rate, route)
            if code == -CInt(NLE_OBJ_NOTFOUND), kind == .fqCodel, leaf == .tcp {
                kind = .bfifo
                code = add(kind, to: leaf, rate, route)
            }
            if code < 0 { throw failure("add", "qdisc \(kind.rawValue)", code, module: "sch_\(kind.rawValue)") }
        }
        if hasFresh(kind) {
            try addLeafClass(.fresh, rate: rate, route)
            try addQueue(kind, to: .fresh, rate, route)
        }
        return kind
    }

    /// Whether the first packets of each flow have a class of their own: fq_codel lets them by without one.
    func hasFresh(_ kind: LeafKind) -> Bool { drops && kind == .bfifo }

    /// Gives one class its qdisc, maybe behind another one.
    func addQueue(
        _ kind: LeafKind, to leaf: Handle, below parent: UInt32? = nil, _ rate: UInt64, _ route: borrowing RouteSocket
    ) throws(SystemError) {
        let code = add(kind, to: leaf, below: parent, rate, route)
        if code < 0 { throw failure("add", "qdisc \(kind.rawValue)", code) }
    }

    /// Fits the length of the queue for all but TCP to another rate.
    func resize(
        _ kind: LeafKind, isDelayed: Bool, rate: UInt64, _ route: borrowing RouteSocket
    ) throws(SystemError) {
        if !drops { return }
        let code = add(kind, to: .rest, below: isDelayed ? Handle.rest.delayed : nil, rate, route, flags: 0)
        if code < 0 { throw failure("resize", "qdisc \(kind.rawValue)", code) }
    }

    private func add(
        _ kind: LeafKind, to leaf: Handle, below parent: UInt32? = nil, _ rate: UInt64,
        _ route: borrowing RouteSocket, flags: CInt = NLM_F_CREATE | NLM_F_EXCL
    ) -> CInt {
        qdisc(kind.rawValue, nil, parent: parent ?? leaf.rawValue) { qdisc in
            switch (kind, drops && leaf == .rest) {
            case (.fqCodel, false): LeafLimits.fairness.set(on: qdisc)
            case (.fqCodel, true): LeafLimits(rate: rate).set(on: qdisc)
            case (.bfifo, false): _ = rtnl_qdisc_fifo_set_limit(qdisc, clamped(max(rate, 16_000_000)))
            case (.bfifo, true): _ = rtnl_qdisc_fifo_set_limit(qdisc, clamped(LeafLimits.bytes(rate)))
            }
            return rtnl_qdisc_add(route.pointer, qdisc, flags)
        }
    }
}

/// The parameters of fq_codel (tc-fq_codel(8)).
struct LeafLimits: Equatable {
    /// Both in microseconds: packets are dropped once they waited for the target all through an interval.
    let target: UInt32
    let interval: UInt32
    /// In packets.
    let limit: CInt

    /// How much but TCP may wait: 200 ms of the rate, and eight frames of Ethernet at least.
    static func bytes(_ rate: UInt64) -> UInt64 { max(rate / 5, 8 * Hierarchy.frame) }

    /// Never drops for time: TCP adjusts to the rate by its own window. libnl sets no memory_limit; it is 32 MB.
    static let fairness = LeafLimits(target: 5_000_000, interval: 10_000_000, limit: 1_000_000)

    /// For a rate in bytes a second.
    init(rate: UInt64) {
        // TCP's turn takes its time: a target below that would drop packets that wait for nothing else.
        let turn = UInt64(Hierarchy.quantum(rate)) * 1_000_000 / max(rate, 1)
        let target = min(max(5000, turn), 50_000_000)
        let limit = clamped(LeafLimits.bytes(rate) / Hierarchy.frame)
        self.init(target: UInt32(target), interval: UInt32(20 * target), limit: limit)
    }

    init(target: UInt32, interval: UInt32, limit: CInt) {
        self.target = target
        self.interval = interval
        self.limit = limit
    }

    fileprivate func set(on qdisc: OpaquePointer) {
        _ = rtnl_qdisc_fq_codel_set_target(qdisc, target)
        _ = rtnl_qdisc_fq_codel_set_interval(qdisc, interval)
        _ = rtnl_qdisc_fq_codel_set_limit(qdisc, limit)
    }
}

private func clamped(_ value: UInt64) -> CInt { CInt(clamping: value) }
