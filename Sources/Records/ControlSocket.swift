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

extension RecordDirectory {
    /// Asks the run of this record. Returns its answer.
    public func ask(_ record: String, _ request: ControlRequest) throws(SystemError) -> [UInt8] {
        try attempting("ask", "the run of \(path)/\(record)") { () throws(Errno) in
            let answer = try send(request, to: record).readAll()
            if answer.isEmpty { throw .permissionDenied }
            return answer
        }
    }

    /// Asks the run of this record for what it takes to join its group: two descriptors.
    public func askToJoin(_ record: String) throws(SystemError) -> (CInt, CInt) {
        var request = ControlRequest()
        request.join = true
        var descriptors = [CInt](repeating: -1, count: Int(KERNEL_MAX_FDS))
        var count: CInt = 0
        try attempting("ask", "the run of \(path)/\(record)") { () throws(Errno) in
            let socket = try send(request, to: record)
            var bytes = [UInt8](repeating: 0, count: 16)
            if kernel_receive_fds(socket.rawValue, &bytes, bytes.count, &descriptors, &count) < 0 {
                throw Errno(rawValue: errno)
            }
        }
        if count == 2 { return (descriptors[0], descriptors[1]) }
        for descriptor in descriptors.prefix(Int(count)) { close(descriptor) }
        throw SystemError("join", "the group of \(path)/\(record)", errno: .permissionDenied)
    }

    /// A run that waited too long for its request, as where the machine is busy, has hung up: it is asked again.
    private func send(_ request: ControlRequest, to record: String) throws(Errno) -> Descriptor {
        for _ in 0..<10 {
            let socket = try reach(record)
            socket.setTimeout(milliseconds: 2000)
            do throws(Errno) { try socket.send(json(request)) } catch {
                if error == .brokenPipe { continue }
                throw error
            }
            shutdown(socket.rawValue, CInt(SHUT_WR))
            return socket
        }
        throw .brokenPipe
    }

    /// Connects to the socket beside a record. That of a run that has only just started may not be there yet.
    private func reach(_ record: String) throws(Errno) -> Descriptor {
        let name = record + ControlSocket.suffix
        for _ in 0..<50 {
            if let socket = try? inDirectory(self, { () throws(Errno) in try Descriptor(connecting: name) }) {
                return socket
            }
            // The run has ended.
            if faccessat(descriptor.rawValue, record, F_OK, AT_SYMLINK_NOFOLLOW) < 0 { break }
            usleep(10_000)
        }
        return try inDirectory(self) { () throws(Errno) in try Descriptor(connecting: name) }
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
