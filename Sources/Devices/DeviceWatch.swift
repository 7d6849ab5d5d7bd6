import CLibNL
import Glibc
import Kernel
import SystemPackage

/// Tells that devices of the namespace came, went or changed (RTNLGRP_LINK); to be polled.
public struct DeviceWatch: ~Copyable {
    private let socket: RouteSocket

    /// Watches from now on: whoever lists devices after this misses none.
    public init() throws(SystemError) {
        let socket = try RouteSocket()
        let code = nl_socket_add_membership(socket.pointer, CInt(RTNLGRP_LINK.rawValue))
        if code < 0 { throw SystemError("watch", "network devices", errno: Errno(libnl: code)) }
        self.socket = socket
    }

    /// Readable when there is something to drain. CLOEXEC.
    public var descriptor: CInt { nl_socket_get_fd(socket.pointer) }

    /// Takes in what came, without waiting. Returns whether anything changed, also when the kernel lost messages.
    public func drain() -> Bool {
        // One byte is enough: recv(2) of a datagram throws the rest of it away, and what changed, a new list says.
        var byte: UInt8 = 0
        var hasChanged = false
        while true {
            if recv(descriptor, &byte, 1, CInt(MSG_DONTWAIT)) >= 0 || errno == ENOBUFS {
                hasChanged = true
            } else if errno != EINTR {
                return hasChanged
            }
        }
    }
}
