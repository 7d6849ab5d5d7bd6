import CLibNL
import CPrograms
import Kernel
import SystemPackage

/// The handles of a queue's qdisc and classes, in part known to the programs that lead packets here.
enum Handle {
    case root
    /// All that passes is charged to it.
    case all
    case tcp, rest
    /// There where packets are delayed: held to no rate, and not delayed.
    case free, near
    /// Goes before all others.
    case fresh

    var rawValue: UInt32 {
        switch self {
        case .root: THROTTLE_QUEUE_ROOT.rawValue
        case .all: THROTTLE_QUEUE_ROOT.rawValue | 1
        case .tcp: THROTTLE_TCP_CLASS.rawValue
        case .rest: THROTTLE_REST_CLASS.rawValue
        case .free: THROTTLE_FREE_CLASS.rawValue
        case .near: THROTTLE_NEAR_CLASS.rawValue
        case .fresh: THROTTLE_FRESH_CLASS.rawValue
        }
    }

    /// That of the qdisc which delays its packets.
    var delay: UInt32 { (rawValue & 0xffff) << 16 }
    /// Behind that, where its packets wait for the rate.
    var delayed: UInt32 { delay | 1 }
}

/// HTB on a device: a class that holds the rate, and below it those that own next to nothing and borrow all they send.
/// HTB lends to them in turns (deficit round robin), so they share equally, and the rate stands in one place only.
struct Hierarchy {
    let device: Int32
    /// The device's name, for errors.
    let name: String
    /// Whether what isn't TCP's is dropped where it waits too long: its senders can't be held back.
    let drops: Bool

    /// The classes whose packets can be delayed: of what is sent, only what is known when it comes back.
    var delayable: [Handle] { drops ? [.tcp, .rest, .free] : [.free] }

    /// The largest frame of Ethernet, jumbo frames aside, in bytes: an MTU of 1500 and the header.
    static let frame: UInt64 = 1514
    /// What a class may send at a turn, in bytes: 50 ms of the rate. Below the largest packet, turns would be packets;
    /// TCP's are up to 64 KiB and a header for each segment, but not those of a slow run.
    static func quantum(_ rate: UInt64) -> UInt32 { UInt32(min(max(rate / 20, 2 * frame), 80_000)) }
    /// More than any host sends; the bursts that go with it last a millisecond. Both in bytes.
    static let unlimited: (rate: UInt64, burst: UInt32) = (1_000_000_000_000, 1_000_000_000)

    /// Adds all of it; `rate` in bytes a second. Returns the kind of its classes' qdiscs.
    func build(rate: UInt64, _ route: borrowing RouteSocket) throws(SystemError) -> LeafKind {
        let code = qdisc("htb", .root, parent: UInt32(TC_H_ROOT)) { qdisc in
            let code = rtnl_htb_set_defcls(qdisc, Handle.rest.rawValue & 0xffff)
            return code < 0 ? code : rtnl_qdisc_add(route.pointer, qdisc, NLM_F_CREATE | NLM_F_EXCL)
        }
        if code < 0 { throw failure("add", "qdisc htb", code, module: "sch_htb") }
        try setRate(rate, creating: true, route)
        for leaf in [Handle.tcp, .rest] { try addLeafClass(leaf, rate: rate, route) }
        return try addLeafQdiscs(rate: rate, route)
    }

    /// Has packets delayed from now on. What waits already is lost.
    func addDelay(_ delay: Delay, _ kind: LeafKind, rate: UInt64, _ route: borrowing RouteSocket) throws(SystemError) {
        try addLeafClass(.free, rate: Hierarchy.unlimited.rate, route)
        if drops {
            try addLeafClass(.near, rate: rate, route)
            try addQueue(kind, to: .near, rate, route)
        }
        for leaf in delayable {
            try setDelay(delay, of: leaf, flags: NLM_F_CREATE | NLM_F_REPLACE, route)
            if leaf != .free { try addQueue(kind, to: leaf, below: leaf.delayed, rate, route) }
        }
    }

    /// Delays packets otherwise.
    func changeDelay(_ delay: Delay, _ route: borrowing RouteSocket) throws(SystemError) {
        for leaf in delayable { try setDelay(delay, of: leaf, flags: 0, route) }
    }

    /// Changes the rate, in bytes a second: one message.
    func setRate(_ rate: UInt64, creating: Bool = false, _ route: borrowing RouteSocket) throws(SystemError) {
        // HTB sends while it has no debt, so a burst of one frame holds the rate; 4 ms bridge the timer's delays. It
        // forgives debts of more than a minute: below 1.2 kB/s, 64 KiB packets pass too fast.
        let burst = min(max(rate / 250, Hierarchy.frame), min(rate, UInt64(Int32.max) / 60) * 60)
        let code = htbClass(.all, parent: .root) { htb in
            // Never used here, but without one the kernel makes one of the rate and warns of it.
            _ = rtnl_htb_set_quantum(htb, Hierarchy.quantum(rate))
            _ = rtnl_htb_set_rate64(htb, rate)
            _ = rtnl_htb_set_ceil64(htb, rate)
            _ = rtnl_htb_set_rbuffer(htb, UInt32(burst))
            _ = rtnl_htb_set_cbuffer(htb, UInt32(burst))
            return rtnl_class_add(route.pointer, htb, creating ? NLM_F_CREATE | NLM_F_EXCL : 0)
        }
        if code < 0 { throw failure("set", "the rate", code) }
    }

    func addLeafClass(_ leaf: Handle, rate: UInt64, _ route: borrowing RouteSocket) throws(SystemError) {
        // What is held to no rate has no need to borrow.
        let (parent, own): (Handle, (rate: UInt64, burst: UInt32)) =
            leaf == .free ? (.root, Hierarchy.unlimited) : (.all, (1, 1))
        let code = htbClass(leaf, parent: parent) { htb in
            _ = rtnl_htb_set_quantum(htb, Hierarchy.quantum(rate))
            _ = rtnl_htb_set_prio(htb, leaf == .fresh ? 0 : 1)
            _ = rtnl_htb_set_rate64(htb, own.rate)
            _ = rtnl_htb_set_rbuffer(htb, own.burst)
            _ = rtnl_htb_set_ceil64(htb, Hierarchy.unlimited.rate)
            _ = rtnl_htb_set_cbuffer(htb, Hierarchy.unlimited.burst)
            return rtnl_class_add(route.pointer, htb, NLM_F_CREATE | NLM_F_EXCL)
        }
        if code < 0 { throw failure("add", "class \(leaf)", code) }
    }

    private func htbClass(_ handle: Handle, parent: Handle, _ body: (OpaquePointer) -> CInt) -> CInt {
        with(rtnl_class_alloc(), rtnl_class_put) { htb in
            place(htb, "htb", handle.rawValue, parent: parent.rawValue)
            return body(htb)
        }
    }

    func qdisc(_ kind: String, _ handle: Handle?, parent: UInt32, _ body: (OpaquePointer) -> CInt) -> CInt {
        with(rtnl_qdisc_alloc(), rtnl_qdisc_put) { qdisc in
            place(qdisc, kind, handle?.rawValue ?? 0, parent: parent)
            return body(qdisc)
        }
    }

    private func place(_ object: OpaquePointer, _ kind: String, _ handle: UInt32, parent: UInt32) {
        rtnl_tc_set_ifindex(object, device)
        rtnl_tc_set_handle(object, handle)
        rtnl_tc_set_parent(object, parent)
        rtnl_tc_set_kind(object, kind)
    }

    func failure(_ operation: String, _ what: String, _ code: CInt, module: String? = nil) -> SystemError {
        let errno = Errno(libnl: code)
        let hint = errno == .noSuchFileOrDirectory ? module.map { "this kernel has no \($0) (modprobe \($0))" } : nil
        return SystemError(operation, "\(what) of device \(name)", errno: errno, hint: hint)
    }
}
