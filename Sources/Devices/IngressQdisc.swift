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
