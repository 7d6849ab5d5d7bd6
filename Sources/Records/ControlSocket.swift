import CKernel
import Glibc
import Kernel
import SystemPackage
import Units

/// What a run is asked for.
public struct ControlRequest: Codable, Sendable, Equatable {
    /// New limits in bytes per second, 0 for none; nil: the present one stays.
    public var down: UInt64?
    public var up: UInt64?
    /// Whether the answer is to be for people, and not JSON.
    public var text = false

    public init() {}
}

/// Where a live run answers, beside its record. Its end removes it. Only its user reaches it, and root.
public final class ControlSocket {
    static let suffix = ".socket"
    /// A request is one line, and no longer.
    private static let maximumSize = 1024

    private let listening: Descriptor
    private let directory: Descriptor
    private let name: String

    public init(of record: String, in directory: RecordDirectory) throws(SystemError) {
        let name = record + ControlSocket.suffix
        let subject = "\(directory.path)/\(name)"
        let copy = try attempting("open", directory.path) { () throws(Errno) in try directory.descriptor.copy() }
        let socket = try attempting("listen at", subject) { () throws(Errno) in
            try ControlSocket.listen(name, in: directory)
        }
        self.directory = copy
        listening = socket
        self.name = name
    }

    private static func listen(_ name: String, in directory: RecordDirectory) throws(Errno) -> Descriptor {
        let socket = try inDirectory(directory) { () throws(Errno) in
            unlink(name)
            return try Descriptor(binding: name)
        }
        if Glibc.listen(socket.rawValue, 16) < 0 { throw Errno(rawValue: errno) }
        return socket
    }

    deinit {
        unlinkat(directory.rawValue, name, 0)
    }

    /// Readable when somebody asks.
    public var descriptor: CInt { listening.rawValue }

    /// Takes one request, and sends what `body` makes of it.
    public func answer(_ body: (ControlRequest) -> String) {
        let connection = accept(listening.rawValue, nil, nil)
        if connection < 0 { return }
        let peer = Descriptor(owning: connection)
        peer.setTimeout(milliseconds: 100)
        guard peer.isOfUser(geteuid()), let bytes = try? peer.readAll(upTo: ControlSocket.maximumSize),
            let request: ControlRequest = decoded(bytes)
        else { return }
        try? peer.write(body(request))
    }
}

extension RecordDirectory {
    /// Asks the run of this record. Returns its answer.
    public func ask(_ record: String, _ request: ControlRequest) throws(SystemError) -> [UInt8] {
        let subject = "the run of \(path)/\(record)"
        do throws(Errno) {
            let socket = try reach(record + ControlSocket.suffix)
            socket.setTimeout(milliseconds: 2000)
            try socket.write(json(request))
            shutdown(socket.rawValue, CInt(SHUT_WR))
            let answer = try socket.readAll()
            if answer.isEmpty { throw .permissionDenied }
            return answer
        } catch {
            throw SystemError("ask", subject, errno: error)
        }
    }

    /// Connects to a socket here. One whose run has only just started may not be there yet.
    private func reach(_ name: String) throws(Errno) -> Descriptor {
        for _ in 0..<50 {
            if let socket = try? inDirectory(self, { () throws(Errno) in try Descriptor(connecting: name) }) {
                return socket
            }
            usleep(10_000)
        }
        return try inDirectory(self) { () throws(Errno) in try Descriptor(connecting: name) }
    }
}

/// Runs `body` with that working directory, below which a socket's short path begins.
private func inDirectory<Result: ~Copyable>(
    _ directory: RecordDirectory, _ body: () throws(Errno) -> Result
) throws(Errno) -> Result {
    let before = try Descriptor(opening: ".", O_RDONLY | O_DIRECTORY)
    guard fchdir(directory.descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
    let mask = umask(0o177)
    defer {
        umask(mask)
        fchdir(before.rawValue)
    }
    return try body()
}

extension Descriptor {
    /// Whether the process at the other end of this socket is that user's, or root's.
    fileprivate func isOfUser(_ user: uid_t) -> Bool {
        let peer = kernel_peer_user(rawValue)
        return peer == Int64(user) || peer == 0
    }
}
