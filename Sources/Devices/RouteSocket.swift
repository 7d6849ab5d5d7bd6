import CLibNL
import Glibc
import Kernel
import SystemPackage

/// A route netlink socket (rtnetlink(7)), bound to a network namespace.
package struct RouteSocket: ~Copyable {
    let pointer: OpaquePointer

    /// Opens one. No answer is waited for longer than ten seconds.
    init(in network: NetworkNamespace) throws(SystemError) {
        pointer = try network.inside { () throws(SystemError) in
            try attempting("open", "a route netlink socket") { () throws(Errno) in try RouteSocket.connect() }
        }
        // No answer must keep a run from ending.
        var timeout = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(
            nl_socket_get_fd(pointer), SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    private static func connect() throws(Errno) -> OpaquePointer {
        guard let pointer = nl_socket_alloc() else { throw .noMemory }
        let code = nl_connect(pointer, NETLINK_ROUTE)
        if code >= 0 { return pointer }
        let errno = Errno(libnl: code)
        nl_socket_free(pointer)
        throw errno
    }

    deinit {
        nl_socket_free(pointer)
    }

    /// Receives what the kernel sends next, and calls `body` with each message. Returns libnl's error code, or what isn't
    /// negative.
    func receive(_ body: (OpaquePointer) -> Void) -> CInt {
        var messages: [OpaquePointer] = []
        let code = withUnsafeMutablePointer(to: &messages) { messages in
            nl_socket_modify_cb(
                pointer, NL_CB_VALID, NL_CB_CUSTOM,
                { message, messages in
                    guard let message else { return CInt(NL_STOP.rawValue) }
                    nlmsg_get(message)
                    messages?.assumingMemoryBound(to: [OpaquePointer].self).pointee.append(message)
                    return CInt(NL_OK.rawValue)
                }, messages)
            defer { nl_socket_modify_cb(pointer, NL_CB_VALID, NL_CB_DEFAULT, nil, nil) }
            return nl_recvmsgs_default(pointer)
        }
        for message in messages {
            body(message)
            nlmsg_free(message)
        }
        return code
    }

    /// Asks by a message of this type and header, and calls `body` with each message of the answer. Returns libnl's error
    /// code, or what isn't negative.
    func ask<Header: BitwiseCopyable>(
        _ type: Int, _ header: Header, flags: CInt = 0, _ body: (OpaquePointer) -> Void
    ) -> CInt {
        guard let message = nlmsg_alloc_simple(CInt(type), flags) else { return -CInt(NLE_NOMEM) }
        defer { nlmsg_free(message) }
        var header = header
        nlmsg_append(message, &header, MemoryLayout<Header>.size, CInt(NLMSG_ALIGNTO))
        var hasAnswer = false
        var code = nl_send_auto(pointer, message)
        if code >= 0 {
            code = receive { message in
                hasAnswer = true
                body(message)
            }
        }
        // It comes behind the answer, if there is one that isn't an error; the end of a dump stands for it.
        return code >= 0 && hasAnswer && flags & CLibNL.NLM_F_DUMP == 0 ? nl_wait_for_ack(pointer) : code
    }

    /// Sends a message of this type, which `fill` makes, and waits until it is done. Returns libnl's error code, or what isn't
    /// negative.
    func tell(_ type: Int, flags: CInt, _ fill: (OpaquePointer) -> Void) -> CInt {
        guard let message = nlmsg_alloc_simple(CInt(type), flags) else { return -CInt(NLE_NOMEM) }
        fill(message)
        return nl_send_sync(pointer, message)
    }

    /// All devices of the namespace, by index.
    package func devices() throws(SystemError) -> [Device] {
        var devices: [Device] = []
        var code: CInt
        // Not by a cache of libnl's: that waits for an answer also where it couldn't ask.
        repeat {
            devices = []
            code = ask(RTM_GETLINK, ifinfomsg(), flags: CLibNL.NLM_F_DUMP) { message in
                if let device = object(in: message, Device.init) { devices.append(device) }
            }
        } while code == -CInt(NLE_DUMP_INTR)
        if code < 0 { throw SystemError("list", "network devices", errno: Errno(libnl: code)) }
        return devices
    }

    /// The device of that name.
    func device(named name: String) throws(Errno) -> Device {
        try device(0, name)
    }

    /// The device with that index.
    package func device(_ index: Int32) throws(Errno) -> Device {
        try device(index, nil)
    }

    private func device(_ index: Int32, _ name: String?) throws(Errno) -> Device {
        try link(index, name, Device.init)
    }

    /// Bytes that a device has received and sent.
    func traffic(of index: Int32) throws(Errno) -> (received: UInt64, sent: UInt64) {
        try link(index, nil) {
            (rtnl_link_get_stat($0, RTNL_LINK_RX_BYTES), rtnl_link_get_stat($0, RTNL_LINK_TX_BYTES))
        }
    }

    private func link<Result>(
        _ index: Int32, _ name: String?, _ transform: (OpaquePointer) -> Result
    ) throws(Errno) -> Result {
        var link: OpaquePointer?
        let code = rtnl_link_get_kernel(pointer, index, name, &link)
        guard code >= 0, let link else { throw Errno(libnl: code) }
        defer { rtnl_link_put(link) }
        return transform(link)
    }
}

/// The objects of one kind that the kernel holds, as one dump tells them.
struct Cache: ~Copyable {
    private let pointer: OpaquePointer

    init(
        _ operation: String, _ subject: String, dump: (inout OpaquePointer?) -> CInt
    ) throws(SystemError) {
        var pointer: OpaquePointer?
        let code = dump(&pointer)
        guard code >= 0, let pointer else { throw SystemError(operation, subject, errno: Errno(libnl: code)) }
        self.pointer = pointer
    }

    deinit {
        nl_cache_free(pointer)
    }

    /// What `transform` makes of each object; the object itself lives no longer than the cache.
    func map<Result>(_ transform: (OpaquePointer) -> Result) -> [Result] {
        var results: [Result] = []
        var next = nl_cache_get_first(pointer)
        while let object = next {
            results.append(transform(object))
            next = nl_cache_get_next(object)
        }
        return results
    }
}

extension Errno {
    /// What a code of libnl stands for (nl_syserr2nlerr of its lib/error.c, backwards).
    init(libnl code: CInt) {
        switch abs(code) {
        case NLE_PERM: self = .notPermitted
        case NLE_NOACCESS: self = .permissionDenied
        case NLE_EXIST: self = .fileExists
        case NLE_OBJ_NOTFOUND: self = .noSuchFileOrDirectory
        case NLE_NODEV: self = Errno(rawValue: Glibc.ENODEV)
        case NLE_INVAL: self = .invalidArgument
        case NLE_RANGE: self = .outOfRange
        case NLE_BUSY: self = .resourceBusy
        case NLE_NOMEM: self = .noMemory
        case NLE_AGAIN: self = .resourceTemporarilyUnavailable
        case NLE_OPNOTSUPP: self = .notSupportedOnSocket
        case NLE_AF_NOSUPPORT: self = .addressFamilyNotSupported
        case NLE_FAILURE where Glibc.errno != 0: self = Errno(rawValue: Glibc.errno)
        default: self = .ioError
        }
    }
}

/// The object that a message of the kernel's is about, as `transform` sees it.
func object<Result>(in message: OpaquePointer, _ transform: (OpaquePointer) -> Result) -> Result? {
    var parsed: OpaquePointer?
    _ = withUnsafeMutablePointer(to: &parsed) { parsed in
        nl_msg_parse(
            message,
            { object, parsed in
                nl_object_get(object)
                parsed?.assumingMemoryBound(to: OpaquePointer?.self).pointee = object
            }, parsed)
    }
    guard let parsed else { return nil }
    defer { nl_object_put(parsed) }
    return transform(parsed)
}
