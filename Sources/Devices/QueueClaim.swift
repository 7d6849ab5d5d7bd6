import Kernel
import SystemPackage

/// Tells others in this network namespace that the owner of a queue lives: an abstract Unix socket of the queue's name,
/// which belongs to the namespace as the queue does, and goes with its process.
struct QueueClaim: ~Copyable {
    private let socket: Descriptor

    /// Fails with `.addressInUse` where a live run has the name.
    init(_ name: String) throws(Errno) {
        socket = try Descriptor(binding: "\0throttle/\(name)")
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
