import Glibc
import Kernel
import SystemPackage

/// Tells others in its network namespace that the owner of a queue lives: an abstract Unix socket of the queue's name,
/// which belongs to the namespace as the queue does, and goes with its process.
struct QueueClaim: ~Copyable {
    private let socket: Descriptor

    /// Fails with `.addressInUse` where a live run has the name.
    init(_ name: String, in network: NetworkNamespace) throws(SystemError) {
        socket = try network.inside { () throws(SystemError) in
            try attempting("claim the name of", "device \(name)") { () throws(Errno) in
                try Descriptor(binding: "\0throttle/\(name)")
            }
        }
    }

    static func isTaken(_ name: String, in network: NetworkNamespace) -> Bool {
        do {
            _ = try QueueClaim(name, in: network)
            return false
        } catch {
            return true
        }
    }

    /// Who has the name: processes, and the users that made their sockets. Empty where that can't be told: others' pid
    /// namespaces and processes may be out of sight.
    static func holders(
        of name: String, in network: NetworkNamespace
    ) -> [(process: pid_t, user: uid_t)] {
        let text = try? network.inside { try? readText("/proc/thread-self/net/unix") }
        let sockets = text?.split(separator: "\n") ?? []
        let inodes = sockets.compactMap { line -> UInt? in
            // proc_net(5) has the inode before the path.
            let fields = line.split(separator: " ")
            return fields.count > 1 && fields.last == "@throttle/\(name)" ? UInt(fields[fields.count - 2]) : nil
        }
        if inodes.isEmpty { return [] }
        return Host.processes.flatMap { process in
            owners(of: inodes, in: process).map { (process, $0) }
        }
    }

    /// The users that made those of the sockets that a process has open.
    private static func owners(of inodes: [UInt], in process: pid_t) -> Set<uid_t> {
        guard let folder = try? Descriptor(opening: "/proc/\(process)/fd", O_RDONLY | O_DIRECTORY) else { return [] }
        var users: Set<uid_t> = []
        for name in folder.entries() {
            var status = stat()
            if fstatat(folder.rawValue, name, &status, 0) == 0, status.st_mode & S_IFMT == S_IFSOCK,
                inodes.contains(UInt(status.st_ino))
            {
                users.insert(status.st_uid)
            }
        }
        return users
    }
}
