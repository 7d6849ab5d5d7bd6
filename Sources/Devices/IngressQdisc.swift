import CLibNL
import Kernel

extension RouteSocket {
    /// The devices, by index, that have an ingress or clsact qdisc, where filters may be.
    package func devicesWithIngressQdisc() throws(SystemError) -> Set<Int32> {
        let qdiscs = try Cache("list", "qdiscs") { rtnl_qdisc_alloc_cache(pointer, &$0) }
        let found = qdiscs.map { (rtnl_tc_get_ifindex($0), String(cString: rtnl_tc_get_kind($0))) }
        return Set(found.filter { ["ingress", "clsact"].contains($0.1) }.map(\.0))
    }
}

extension RouteSocket {
    /// Whether a device has one. Not by a dump, which would be of all devices.
    package func hasIngressQdisc(_ device: Int32) -> Bool {
        var request = tcmsg()
        request.tcm_ifindex = device
        request.tcm_parent = UInt32(TC_H_CLSACT)
        var kind: String?
        // Older kernels answer those who ask for an echo.
        _ = ask(RTM_GETQDISC, request, flags: NLM_F_ECHO) { message in
            kind = object(in: message) { rtnl_tc_get_kind($0).map { String(cString: $0) } } ?? nil
        }
        return kind != nil
    }
}
