import Glibc
import Kernel
import SystemPackage

/// Tells others in this network namespace that the owner of a queue lives: an abstract Unix socket (unix(7)) of the
/// queue's name, which belongs to the namespace as the queue does, and goes with its process.
struct QueueClaim: ~Copyable {
    private let socket: Descriptor

    /// Fails with `.addressInUse` where a live run has the name.
    init(_ name: String) throws(Errno) {
        let descriptor = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        if descriptor < 0 { throw Errno(rawValue: errno) }
        let socket = Descriptor(owning: descriptor)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array("\0throttle/\(name)".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
        }
        if result < 0 { throw Errno(rawValue: errno) }
        self.socket = socket
    }

    static func isTaken(_ name: String) -> Bool {
        do {
            _ = try QueueClaim(name)
            return false
        } catch {
            return true
        }
    }
}
