import CLibNL
import Glibc
import Kernel
import Logging
import SystemPackage

/// A place for a filter of ours at a device's ingress: its clsact or ingress qdisc. Where it has none, a run adds
/// clsact, all later runs share it, and the last to leave removes it; one that others made, or use, stays.
struct IngressPlace: ~Copyable {
    /// The priority that a filter of ours must have, behind those of others. It tells other runs who made the qdisc.
    enum Priority: UInt16, Sendable {
        /// In a clsact that a run added.
        case inOurs = 65535
        /// In one of others.
        case inTheirs = 65534
    }

    /// What the filter has.
    let priority: Priority
    private let network: NetworkNamespace
    private let route: RouteSocket
    private let device: Device
    private let log: Logger

    /// `attach` is to add the filter; runs that come or go meanwhile wait.
    init(
        on device: Device, in network: NetworkNamespace, log: Logger,
        attach: (Priority) throws(SystemError) -> Void
    ) throws(SystemError) {
        let route = try network.routeSocket()
        let priority = try network.exclusively { () throws(SystemError) in
            try IngressPlace.enter(device, route, log, attach)
        }
        self.priority = priority
        self.network = network
        self.route = route
        self.device = device
        self.log = log
    }

    /// Attaches the filter, to clsact of ours where there is no qdisc yet. Returns the priority that it has.
    private static func enter(
        _ device: Device, _ route: borrowing RouteSocket, _ log: Logger,
        _ attach: (Priority) throws(SystemError) -> Void
    ) throws(SystemError) -> Priority {
        let isNew = try add(to: device, route, log)
        let isOurs = isNew || priorities(route, device.index).contains(Priority.inOurs.rawValue)
        let priority = isOurs ? Priority.inOurs : .inTheirs
        do {
            try attach(priority)
        } catch {
            if isNew { remove(from: device, route, log) }
            throw error
        }
        return priority
    }

    /// The place of a filter that another process of ours left.
    init(of filter: IngressFilter, log: Logger) throws(SystemError) {
        guard let priority = Priority(rawValue: filter.priority) else {
            throw SystemError("remove", "filter \(filter.handle) of \(filter.device.name)", errno: .invalidArgument)
        }
        let route = try filter.network.routeSocket()
        network = filter.network
        self.route = route
        self.priority = priority
        device = filter.device
        self.log = log
    }

    /// Gives the place up; `detach` is to remove the filter.
    consuming func leave(_ detach: () -> Void) {
        network.exclusively {
            detach()
            if priority == .inOurs && IngressPlace.priorities(route, device.index).isEmpty {
                IngressPlace.remove(from: device, route, log)
            }
        }
    }

    /// Adds clsact; false where there is a qdisc already.
    private static func add(
        to device: Device, _ route: borrowing RouteSocket, _ log: Logger
    ) throws(SystemError) -> Bool {
        let code = IngressPlace.with(device.index) {
            rtnl_qdisc_add(route.pointer, $0, CLibNL.NLM_F_CREATE | NLM_F_EXCL)
        }
        let errno = Errno(libnl: code)
        if code < 0 && errno != .fileExists { throw SystemError("add", "qdisc clsact to \(device.name)", errno: errno) }
        if code >= 0 { log.debug("added qdisc clsact to \(device.name)") }
        return code >= 0
    }

    private static func remove(from device: Device, _ route: borrowing RouteSocket, _ log: Logger) {
        let subject = "qdisc clsact from \(device.name)"
        let code = IngressPlace.with(device.index) { rtnl_qdisc_delete(route.pointer, $0) }
        let errno = Errno(libnl: code)
        // With its device, the qdisc is gone, too.
        let failed = code < 0 && errno.rawValue != ENODEV
        if failed {
            log.warning("\(SystemError("remove", subject, errno: errno))")
        } else {
            log.debug("removed \(subject)")
        }
    }

    /// The priorities of all filters on both sides of clsact.
    private static func priorities(_ route: borrowing RouteSocket, _ device: Int32) -> Set<UInt16> {
        var found: Set<UInt16> = []
        for side in [TC_H_MIN_INGRESS, TC_H_MIN_EGRESS] {
            let priorities = try? Cache("list", "filters") { cache in
                rtnl_cls_alloc_cache(route.pointer, device, IngressPlace.handle | UInt32(side), &cache)
            }.map { rtnl_cls_get_prio($0) }
            found.formUnion(priorities ?? [])
        }
        return found
    }

    private static let handle: UInt32 = 0xffff_0000

    private static func with(_ device: Int32, _ body: (OpaquePointer) -> CInt) -> CInt {
        Devices.with(rtnl_qdisc_alloc(), rtnl_qdisc_put) { qdisc in
            rtnl_tc_set_ifindex(qdisc, device)
            rtnl_tc_set_parent(qdisc, UInt32(TC_H_CLSACT))
            rtnl_tc_set_handle(qdisc, IngressPlace.handle)
            rtnl_tc_set_kind(qdisc, "clsact")
            return body(qdisc)
        }
    }
}
