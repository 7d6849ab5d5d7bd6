import CLibNL
import Glibc
import Kernel
import SystemPackage

/// Which packets of a device a filter sees.
package enum Side: Sendable, CaseIterable {
    case ingress, egress

    /// The handle that filters of this side have for a parent, below clsact or, ingress alone, the qdisc of that name.
    var handle: UInt32 {
        UInt32(TC_H_CLSACT) & 0xffff_0000 | UInt32(self == .ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS)
    }
}

/// A BPF filter of a device's ingress or clsact qdisc: packets that its program matches go out by another device. To be
/// removed by its owner.
///
/// At ingress the packets are redirected by an action (act_mirred), as bpf_redirect() can't send them to an IFB before
/// Linux 6.4; at egress the program does that itself, as the action would lose whose they are. libnl-route has no BPF
/// filters, so the message is made here: net/sched/cls_bpf.c has its attributes.
struct DeviceFilter: Sendable {
    let network: NetworkNamespace
    let device: Device
    let side: Side
    let priority: UInt16
    /// The index of the device that says whose it is.
    let handle: UInt32

    /// Adds the filter; `program` is the descriptor of one of type sched_cls: at ingress it returns -1 for a match, which is
    /// redirected to the device `target`, and else 0; at egress an action (linux/pkt_cls.h). Filters of lower priority values
    /// see each packet first. `target` is unique among those of one priority.
    init(
        program: CInt, named name: String, on device: Device, _ side: Side, in network: NetworkNamespace,
        to target: Int32, priority: UInt16
    ) throws(SystemError) {
        self.network = network
        self.device = device
        self.side = side
        self.priority = priority
        handle = UInt32(target)
        let code = send(CInt(RTM_NEWTFILTER), CLibNL.NLM_F_CREATE | NLM_F_EXCL) { message in
            let options = nla_nest_start(message, CInt(TCA_OPTIONS))
            nla_put_u32(message, CInt(TCA_BPF_FD), UInt32(program))
            nla_put_string(message, CInt(TCA_BPF_NAME), name)
            switch side {
            case .ingress: DeviceFilter.put(redirectTo: target, in: message)
            case .egress: nla_put_u32(message, CInt(TCA_BPF_FLAGS), UInt32(TCA_BPF_FLAG_ACT_DIRECT))
            }
            nla_nest_end(message, options)
        }
        if code < 0 { throw SystemError("attach", "\(name) to \(device.name)", errno: Errno(libnl: code)) }
    }

    /// The filters of one of these names at a device.
    static func all(
        on device: Device, _ side: Side, in network: NetworkNamespace, named names: [String]
    ) throws(SystemError) -> [DeviceFilter] {
        var request = tcmsg()
        request.tcm_ifindex = device.index
        request.tcm_parent = side.handle
        var found: [DeviceFilter] = []
        let code = try network.routeSocket().ask(RTM_GETTFILTER, request, flags: CLibNL.NLM_F_DUMP) { message in
            if let filter = DeviceFilter(in: message, on: device, side, in: network, named: names) {
                found.append(filter)
            }
        }
        if code < 0 { throw SystemError("list", "filters of \(device.name)", errno: Errno(libnl: code)) }
        return found
    }

    /// nil if the message is about another filter.
    private init?(
        in message: OpaquePointer, on device: Device, _ side: Side, in network: NetworkNamespace, named names: [String]
    ) {
        guard let header = nlmsg_hdr(message),
            let options = nlmsg_find_attr(header, CInt(MemoryLayout<tcmsg>.size), CInt(TCA_OPTIONS)),
            let first = nla_data(options)?.assumingMemoryBound(to: nlattr.self),
            let text = nla_find(first, nla_len(options), CInt(TCA_BPF_NAME)),
            names.contains(String(cString: nla_get_string(text)))
        else { return nil }
        let place = nlmsg_data(header).assumingMemoryBound(to: tcmsg.self).pointee
        self.network = network
        self.device = device
        self.side = side
        priority = UInt16(place.tcm_info >> 16)
        handle = place.tcm_handle
    }

    /// One that is gone already, or whose device is, is no error.
    func remove() throws(SystemError) {
        let code = send(CInt(RTM_DELTFILTER), 0) { _ in }
        let errno = Errno(libnl: code)
        // EINVAL: the qdisc is gone.
        guard code < 0, ![ENODEV, ENOENT, EINVAL].contains(errno.rawValue) else { return }
        throw SystemError("detach", "filter \(handle) from \(device.name)", errno: errno)
    }

    private static func put(redirectTo target: Int32, in message: OpaquePointer) {
        let actions = nla_nest_start(message, CInt(TCA_BPF_ACT))
        let first = nla_nest_start(message, 1)
        nla_put_string(message, CInt(TCA_ACT_KIND), "mirred")
        let options = nla_nest_start(message, CInt(TCA_ACT_OPTIONS))
        var parameters = tc_mirred()
        parameters.action = TC_ACT_STOLEN
        parameters.eaction = TCA_EGRESS_REDIR
        parameters.ifindex = UInt32(target)
        nla_put(message, CInt(TCA_MIRRED_PARMS), CInt(MemoryLayout<tc_mirred>.size), &parameters)
        nla_nest_end(message, options)
        nla_nest_end(message, first)
        nla_nest_end(message, actions)
    }

    /// Sends a message on the filter and waits for the answer. Returns 0 or libnl's error code.
    private func send(_ type: CInt, _ flags: CInt, _ body: (OpaquePointer) -> Void) -> CInt {
        guard let route = try? network.routeSocket(), let message = nlmsg_alloc_simple(type, flags) else {
            return -CInt(NLE_NOMEM)
        }
        var header = tcmsg()
        header.tcm_ifindex = device.index
        header.tcm_parent = side.handle
        header.tcm_handle = handle
        header.tcm_info = UInt32(priority) << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian)
        nlmsg_append(message, &header, MemoryLayout<tcmsg>.size, CInt(NLMSG_ALIGNTO))
        nla_put_string(message, CInt(TCA_KIND), "bpf")
        body(message)
        return nl_send_sync(route.pointer, message)
    }
}
