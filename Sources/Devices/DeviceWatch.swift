import CLibNL
import Glibc
import Kernel
import SystemPackage

/// Tells that devices left a network namespace (RTNLGRP_LINK); to be polled.
package struct DeviceWatch: ~Copyable {
    private let socket: RouteSocket

    /// Watches from now on: whoever lists devices after this misses none.
    package init(in network: NetworkNamespace) throws(SystemError) {
        let socket = try network.routeSocket()
        nl_socket_disable_seq_check(socket.pointer)
        var code = nl_socket_add_membership(socket.pointer, CInt(RTNLGRP_LINK.rawValue))
        if code >= 0 { code = nl_socket_set_nonblocking(socket.pointer) }
        if code < 0 { throw SystemError("watch", "network devices", errno: Errno(libnl: code)) }
        self.socket = socket
    }

    /// Readable when there is something to drain. CLOEXEC.
    package var descriptor: CInt { nl_socket_get_fd(socket.pointer) }

    /// Takes in what came, without waiting. Returns the indexes of devices that are gone; nil where messages were lost, so
    /// that more may be.
    package func drain() -> Set<Int32>? {
        var gone: Set<Int32>? = []
        while true {
            let code = socket.receive { message in
                if let index = DeviceWatch.departed(in: message) { gone?.insert(index) }
            }
            if code == -CInt(NLE_AGAIN) { return gone }
            if code < 0 { gone = nil }
        }
    }

    private static func departed(in message: OpaquePointer) -> Int32? {
        guard let header = nlmsg_hdr(message), header.pointee.nlmsg_type == RTM_DELLINK else { return nil }
        let link = nlmsg_data(header).assumingMemoryBound(to: ifinfomsg.self).pointee
        // Of another family, it only left a bridge.
        return link.ifi_family == AF_UNSPEC ? link.ifi_index : nil
    }
}
