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
    /// Whether these are the limits of its group.
    public var group: Bool?
    /// Whether the answer is to be what a run needs to join its group: descriptors.
    public var join: Bool?
    /// Whether the answer is to be for people, and not JSON.
    public var text = false

    public init() {}
}

/// What a run answers.
public struct ControlAnswer {
    let text: String
    let descriptors: [CInt]

    /// At most 16 descriptors, which stay ours.
    public init(_ text: String, descriptors: [CInt] = []) {
        self.text = text
        self.descriptors = descriptors
    }
}

/// Where a live run answers, beside its record. Its end removes it. Only its user reaches it, and root.
public final class ControlSocket {
    static let suffix = ".socket"
    /// A request is one line, and no longer.
    private static let maximumSize = 1024

    private let listening: Descriptor
    private let directory: Descriptor
    private let name: String

    /// Listens beside the record of this name, in place of a socket that a dead run left there.
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
    public func answer(_ body: (ControlRequest) -> ControlAnswer) {
        let connection = accept(listening.rawValue, nil, nil)
        if connection < 0 { return }
        let peer = Descriptor(owning: connection)
        peer.setTimeout(milliseconds: 100)
        guard peer.isOfUser(geteuid()), let bytes = try? peer.readAll(upTo: ControlSocket.maximumSize),
            let request: ControlRequest = decoded(bytes)
        else { return }
        let answer = body(request)
        if answer.descriptors.isEmpty {
            try? peer.write(answer.text)
        } else {
            // Of so few bytes, all are taken at once.
            let (text, descriptors) = (Array(answer.text.utf8), answer.descriptors)
            _ = kernel_send_fds(peer.rawValue, text, text.count, descriptors, CInt(descriptors.count))
        }
    }
}

/// Runs `body` with that working directory, below which a socket's short path begins.
private func inDirectory<Result: ~Copyable>(
    _ directory: RecordDirectory, _ body: () throws(Errno) -> Result
) throws(Errno) -> Result {
    // Which need not be readable.
    let before = try Descriptor(opening: ".", KERNEL_PATH_ONLY | O_DIRECTORY)
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
