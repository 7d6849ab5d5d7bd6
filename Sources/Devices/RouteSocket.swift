import CLibNL
import Glibc
import Kernel
import SystemPackage

/// A route netlink socket (rtnetlink(7)), bound to the network namespace that the caller is in when it is made.
public struct RouteSocket: ~Copyable {
    let pointer: OpaquePointer

    public init() throws(SystemError) {
        guard let pointer = nl_socket_alloc() else {
            throw SystemError("open", "a route netlink socket", errno: .noMemory)
        }
        let code = nl_connect(pointer, NETLINK_ROUTE)
        if code < 0 {
            let errno = Errno(libnl: code)
            nl_socket_free(pointer)
            throw SystemError("open", "a route netlink socket", errno: errno)
        }
        self.pointer = pointer
    }

    deinit {
        nl_socket_free(pointer)
    }

    /// All devices of the namespace, by index.
    public func devices() throws(SystemError) -> [Device] {
        let links = try Cache("list", "network devices") { rtnl_link_alloc_cache(pointer, AF_UNSPEC, &$0) }
        return links.map(Device.init)
    }

    /// The device of that name.
    func device(named name: String) throws(Errno) -> Device {
        try device(0, name)
    }

    /// The device with that index.
    func device(_ index: Int32) throws(Errno) -> Device {
        try device(index, nil)
    }

    private func device(_ index: Int32, _ name: String?) throws(Errno) -> Device {
        var link: OpaquePointer?
        let code = rtnl_link_get_kernel(pointer, index, name, &link)
        guard code >= 0, let link else { throw Errno(libnl: code) }
        defer { rtnl_link_put(link) }
        return Device(link)
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
