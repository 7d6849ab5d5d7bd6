import CKernel
import Glibc
import Kernel
import SystemPackage

/// A network namespace, by its own file. Whoever makes something in one keeps it, and so undoes that there, wherever the
/// calling thread is then.
package final class NetworkNamespace: Sendable {
    private let file: Descriptor
    package let inode: UInt64

    private init(_ file: consuming Descriptor, inode: UInt64) {
        self.file = file
        self.inode = inode
    }

    /// The one that the calling thread is in.
    package static func current() throws(SystemError) -> NetworkNamespace { try at(Host.networkNamespacePath) }

    /// That of a process. Takes the right to trace it (ptrace(2)).
    package static func of(process: pid_t) throws(SystemError) -> NetworkNamespace { try at("/proc/\(process)/ns/net") }

    private static func at(_ path: String) throws(SystemError) -> NetworkNamespace {
        try attempting("open", path) { () throws(Errno) in
            let file = try Descriptor(opening: path, O_RDONLY)
            var status = stat()
            if fstat(file.rawValue, &status) < 0 { throw Errno(rawValue: errno) }
            return NetworkNamespace(file, inode: UInt64(status.st_ino))
        }
    }

    /// Runs `body` with the calling thread in this namespace. Takes CAP_SYS_ADMIN where it is in another.
    package func inside<Result: ~Copyable>(
        _ body: () throws(SystemError) -> Result
    ) throws(SystemError) -> Result {
        if Host.networkNamespace == inode { return try body() }
        let home = try NetworkNamespace.current()
        if kernel_enter_network(file.rawValue) < 0 { throw SystemError("enter", "a network namespace") }
        defer { _ = kernel_enter_network(home.file.rawValue) }
        return try body()
    }

    /// What BPF programs know it by; nil before Linux 5.14.
    package func cookie() throws(SystemError) -> UInt64? {
        try inside { Host.networkCookie }
    }

    /// A socket that asks this namespace.
    package func routeSocket() throws(SystemError) -> RouteSocket { try RouteSocket(in: self) }

    /// Runs `body` while other runs of this namespace wait, by a lock on its file. That isn't waited for longer than two
    /// seconds: any process of the namespace may have taken it, and for ever.
    func exclusively<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        _ = file.lock(milliseconds: 2000)
        defer { flock(file.rawValue, LOCK_UN) }
        return try body()
    }
}
