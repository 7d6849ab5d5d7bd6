import CLibNL
import Kernel

extension RouteSocket {
    /// The devices, by index, that have an ingress or clsact qdisc, where filters may be.
    package func devicesWithIngressQdisc() throws(SystemError) -> Set<Int32> {
        let qdiscs = try Cache("list", "qdiscs") { rtnl_qdisc_alloc_cache(pointer, &$0) }
        let found = qdiscs.map { (rtnl_tc_get_ifindex($0), String(cString: rtnl_tc_get_kind($0))) }
        return Set(found.filter { ["ingress", "clsact"].contains($0.1) }.map(\.0))
    }

    /// Whether a device has one.
    package func hasIngressQdisc(_ device: Int32) -> Bool {
        qdisc(of: device, below: UInt32(TC_H_CLSACT)) { rtnl_tc_get_kind($0) != nil }.found == true
    }

    /// What `transform` makes of a device's qdisc below that handle, and libnl's error code, or what isn't negative. Not by a
    /// dump, which would be of all devices' qdiscs.
    func qdisc<Result>(
        of device: Int32, below parent: UInt32, _ transform: (OpaquePointer) -> Result
    ) -> (found: Result?, code: CInt) {
        var request = tcmsg()
        request.tcm_ifindex = device
        request.tcm_parent = parent
        var found: Result?
        // Older kernels answer those who ask for an echo.
        let code = ask(RTM_GETQDISC, request, flags: NLM_F_ECHO) { found = object(in: $0, transform) }
        return (found, code)
    }
}
