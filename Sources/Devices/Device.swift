import CLibNL
import Glibc

/// A network device.
package struct Device: Sendable, Equatable {
    /// Its ifindex, 1 or more.
    package let index: Int32
    /// At most 15 bytes; others may change it.
    package let name: String
    /// Frames have an Ethernet header (ARPHRD_ETHER), as on cables, veth and bridges; not on tunnels.
    package let isEthernet: Bool
    /// ARPHRD_LOOPBACK: frames have an Ethernet header there, too.
    package let isLoopback: Bool
    package let isUp: Bool
    /// Enslaved to a bridge, bond or VRF: packets pass there, too.
    package let hasMaster: Bool
    /// What virtual device it is (IFLA_INFO_KIND): `ifb`, `veth`, `vlan`, …; nil for hardware and loopback.
    package let kind: String?
    /// Free text (IFLA_IFALIAS); a queue's tells who made it.
    package let alias: String?

    init(_ link: OpaquePointer) {
        index = rtnl_link_get_ifindex(link)
        name = rtnl_link_get_name(link).map { String(cString: $0) } ?? ""
        isEthernet = rtnl_link_get_arptype(link) == ARPHRD_ETHER
        isLoopback = rtnl_link_get_arptype(link) == ARPHRD_LOOPBACK
        isUp = rtnl_link_get_flags(link) & UInt32(IFF_UP) != 0
        hasMaster = rtnl_link_get_master(link) != 0
        kind = rtnl_link_get_type(link).map { String(cString: $0) }
        alias = rtnl_link_get_ifalias(link).map { String(cString: $0) }
    }
}
