import CLibNL
import Glibc
import Kernel
import SystemPackage

/// Tells that devices of a network namespace came, went or changed (RTNLGRP_LINK); to be polled.
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

    /// Takes in what came, without waiting. Returns whether anything changed but queues, which come and go with each
    /// run; also true when the kernel lost messages.
    package func drain() -> Bool {
        var hasChanged = false
        while true {
            let code = socket.receive { message in
                if object(in: message, Device.init)?.kind != "ifb" { hasChanged = true }
            }
            if code == -CInt(NLE_AGAIN) { return hasChanged }
            if code < 0 { hasChanged = true }
        }
    }
}
