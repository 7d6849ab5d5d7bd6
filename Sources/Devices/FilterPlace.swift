import CLibNL
import Glibc
import Kernel
import Logging
import SystemPackage

/// A place for a filter of ours at a device: its clsact or ingress qdisc. Where it has none, a run adds clsact, all later
/// runs share it, and the last to leave removes it; one that others made, or use, stays.
struct FilterPlace: ~Copyable {
    /// The priority that a filter of ours must have. At ingress it is behind those of others; at egress before them, as they
    /// see what it leads away when that comes back. It tells other runs who made the qdisc.
    struct Priority: Sendable, Equatable {
        let value: UInt16
        let isInOurs: Bool

        /// In a clsact that a run added.
        static func inOurs(_ side: Side) -> Priority {
            Priority(value: side == .ingress ? 65535 : 7474, isInOurs: true)
        }

        /// In one of others.
        static func inTheirs(_ side: Side) -> Priority {
            Priority(value: side == .ingress ? 65534 : 1, isInOurs: false)
        }
    }

    /// What the filter has.
    let priority: Priority
    private let network: NetworkNamespace
    private let route: RouteSocket
    private let device: Device
    private let log: Logger

    /// `attach` is to add the filter; runs that come or go meanwhile wait.
    init(
        on device: Device, _ side: Side, in network: NetworkNamespace, log: Logger,
        attach: (Priority) throws(SystemError) -> Void
    ) throws(SystemError) {
        let route = try network.routeSocket()
        let priority = try network.exclusively { () throws(SystemError) in
            try FilterPlace.enter(device, side, route, log, attach)
        }
        self.priority = priority
        self.network = network
        self.route = route
        self.device = device
        self.log = log
    }

    /// Attaches the filter, to clsact of ours where there is no qdisc yet. Returns the priority that it has.
    private static func enter(
        _ device: Device, _ side: Side, _ route: borrowing RouteSocket, _ log: Logger,
        _ attach: (Priority) throws(SystemError) -> Void
    ) throws(SystemError) -> Priority {
        let isNew = try add(to: device, route, log)
        let filters = isNew ? [] : priorities(route, device.index)
        let isOurs = isNew || Side.allCases.contains { filters.contains(Priority.inOurs($0).value) }
        let priority = isOurs ? Priority.inOurs(side) : .inTheirs(side)
        do {
            try attach(priority)
        } catch {
            if isNew { remove(from: device, route, log) }
            throw error
        }
        return priority
    }

    /// The place of a filter that another process of ours left.
    init(of filter: DeviceFilter, log: Logger) throws(SystemError) {
        let places = [Priority.inOurs(filter.side), .inTheirs(filter.side)]
        guard let priority = places.first(where: { $0.value == filter.priority }) else {
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
            if priority.isInOurs && FilterPlace.priorities(route, device.index).isEmpty {
                FilterPlace.remove(from: device, route, log)
            }
        }
    }

    /// Adds clsact; false where there is a qdisc already.
    static func add(
        to device: Device, _ route: borrowing RouteSocket, _ log: Logger
    ) throws(SystemError) -> Bool {
        let code = FilterPlace.with(device.index) {
            rtnl_qdisc_add(route.pointer, $0, CLibNL.NLM_F_CREATE | NLM_F_EXCL)
        }
        let errno = Errno(libnl: code)
        if code < 0 && errno != .fileExists { throw SystemError("add", "qdisc clsact to \(device.name)", errno: errno) }
        if code >= 0 { log.debug("added qdisc clsact to \(device.name)") }
        return code >= 0
    }

    private static func remove(from device: Device, _ route: borrowing RouteSocket, _ log: Logger) {
        let subject = "qdisc clsact from \(device.name)"
        let code = FilterPlace.with(device.index) { rtnl_qdisc_delete(route.pointer, $0) }
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
        for side in Side.allCases {
            let priorities = try? Cache("list", "filters") { cache in
                rtnl_cls_alloc_cache(route.pointer, device, side.handle, &cache)
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
            rtnl_tc_set_handle(qdisc, FilterPlace.handle)
            rtnl_tc_set_kind(qdisc, "clsact")
            return body(qdisc)
        }
    }
}
