import CLibNL
import Glibc
import Kernel
import Logging
import SystemPackage

/// An IFB device of our own: packets that are redirected to it at ingress pass its qdisc and go on where they came from. Its
/// end removes it.
struct IFBDevice: ~Copyable {
    let network: NetworkNamespace
    let route: RouteSocket
    let index: Int32
    let name: String
    private let log: Logger

    /// Makes the device, which is down at first: qdiscs are added faster then.
    init(named name: String, in network: NetworkNamespace, log: Logger) throws(SystemError) {
        guard (1...15).contains(name.utf8.count) else {
            throw SystemError("create", "device \(name)", errno: .invalidArgument, hint: "names have 1 to 15 bytes")
        }
        let route = try network.routeSocket()
        do throws(SystemError) {
            index = try route.make("ifb", named: name, IFBDevice.missing)
        } catch {
            // The kernel may have made it, and only its answer was lost.
            if error.errno != .fileExists {
                let route = try? network.routeSocket()
                if let index = try? route?.device(named: name).index { try? route?.remove(index, named: name) }
            }
            throw error
        }
        self.network = network
        self.route = route
        self.name = name
        self.log = log
        log.debug("created device \(name) (ifb, index \(index))")
    }

    /// Says whose it is, and keeps IPv6 off it.
    func label(_ alias: String) throws(SystemError) {
        // The kernel takes an alias for a device that is there, not with the one that it makes.
        let code = route.change(index) { rtnl_link_set_ifalias($0, alias) }
        if code < 0 { throw SystemError("label", "device \(name)", errno: Errno(libnl: code)) }
        keepIPv6(off: index)
    }

    /// Else IPv6 sends router solicitations through the queue. Where it is switched off, this fails, and none comes.
    private func keepIPv6(off device: Int32) {
        _ = route.change(device) { rtnl_link_inet6_set_addr_gen_mode($0, UInt8(IN6_ADDR_GEN_MODE_NONE.rawValue)) }
    }

    /// Makes a macvlan device above this one, with which it goes: what is sent by it passes its qdisc, and then this one's
    /// egress, with its socket and its route. It is down at first. Returns its index.
    func addFront(named name: String) throws(SystemError) -> Int32 {
        let missing = "this kernel has no macvlan devices (CONFIG_MACVLAN; modprobe macvlan)"
        let front = try route.make("macvlan", named: name, missing) { link in
            rtnl_link_set_link(link, index)
            // In others it looks into frames, which here may be no Ethernet's.
            return rtnl_link_macvlan_set_mode(link, UInt32(MACVLAN_MODE_PRIVATE.rawValue))
        }
        keepIPv6(off: front)
        log.debug("created device \(name) (macvlan, index \(front))")
        return front
    }

    private static let missing = "this kernel has no IFB devices (CONFIG_IFB; modprobe ifb)"

    /// Lets packets through.
    func start() throws(SystemError) { try route.start(index, named: name) }

    deinit {
        do {
            do {
                // Our socket may be behind on answers that were lost.
                try network.routeSocket().remove(index, named: name)
            } catch {
                try route.remove(index, named: name)
            }
            log.debug("removed device \(name)")
        } catch {
            log.warning("\(error)")
        }
    }
}

extension RouteSocket {
    /// Makes a device of a kind, with what `fill` adds; `missing` is the hint where the kernel has none. Returns its index.
    fileprivate func make(
        _ kind: String, named name: String, _ missing: String, _ fill: (OpaquePointer) -> CInt = { _ in 0 }
    ) throws(SystemError) -> Int32 {
        let code = with(rtnl_link_alloc(), rtnl_link_put) { link in
            rtnl_link_set_name(link, name)
            var code = rtnl_link_set_type(link, kind)
            if code >= 0 { code = fill(link) }
            return code < 0 ? code : rtnl_link_add(pointer, link, CLibNL.NLM_F_CREATE | NLM_F_EXCL)
        }
        if code < 0 {
            let errno = Errno(libnl: code)
            let hint: String? =
                switch errno {
                case .notSupportedOnSocket: missing
                case .fileExists: "another device has that name"
                case .notPermitted: "devices take CAP_NET_ADMIN in the network namespace"
                default: nil
                }
            throw SystemError("create", "device \(name)", errno: errno, hint: hint)
        }
        return try attempting("find", "device \(name)") { () throws(Errno) in try device(named: name).index }
    }

    /// Lets packets through a device of ours.
    func start(_ index: Int32, named name: String) throws(SystemError) {
        let code = change(index) { rtnl_link_set_flags($0, UInt32(IFF_UP)) }
        if code < 0 { throw SystemError("start", "device \(name)", errno: Errno(libnl: code)) }
    }

    fileprivate func change(_ index: Int32, _ body: (OpaquePointer) -> Void) -> CInt {
        with(rtnl_link_alloc(), rtnl_link_put) { link in
            rtnl_link_set_ifindex(link, index)
            body(link)
            return rtnl_link_add(pointer, link, 0)
        }
    }

    /// Removes an IFB device. One that is gone already is no error, and neither is one that isn't the same any more:
    /// it stays.
    func remove(_ index: Int32, named name: String) throws(SystemError) {
        do throws(Errno) {
            let device = try device(index)
            guard device.name == name, device.kind == "ifb" else { return }
            let code = with(rtnl_link_alloc(), rtnl_link_put) { link in
                rtnl_link_set_ifindex(link, index)
                return rtnl_link_delete(pointer, link)
            }
            if code < 0 { throw Errno(libnl: code) }
        } catch {
            if error.rawValue != ENODEV { throw SystemError("remove", "device \(name)", errno: error) }
        }
    }
}

/// Gives `object` to `body` and frees it. Without memory for it, returns libnl's code for that.
func with(
    _ object: OpaquePointer?, _ free: (OpaquePointer) -> Void, _ body: (OpaquePointer) -> CInt
) -> CInt {
    guard let object else { return -CInt(NLE_NOMEM) }
    defer { free(object) }
    return body(object)
}
