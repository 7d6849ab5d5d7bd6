import CKernel
import Glibc
import Kernel
import Programs
import Records
import SystemPackage
import Units

/// What a run is asked for. Rates are bytes per second, 0 for no limit; nil: the present one stays.
package enum ControlRequest: Codable, Sendable, Equatable {
    /// To report, for people or as JSON.
    case report(asText: Bool)
    /// To hold other limits. It answers with a `ControlChange`, as below.
    case set(down: UInt64?, up: UInt64?, network: ImpairmentChange? = nil, background: Bool? = nil)
    /// To change those of its group.
    case setGroup(down: UInt64?, up: UInt64?)
    /// To give what it takes to join its group: descriptors.
    case join
}

/// How the network is to be slow; nil: as before.
package struct ImpairmentChange: Codable, Sendable, Equatable {
    /// Microseconds.
    package let rtt: UInt64?
    package let jitter: UInt64?
    /// 0 to 1.
    package let loss: Double?

    package init(rtt: TimeSpan?, jitter: TimeSpan?, loss: Percentage?) {
        self.rtt = rtt.map { $0.nanoseconds / 1000 }
        self.jitter = jitter.map { $0.nanoseconds / 1000 }
        self.loss = loss?.share
    }

    /// What comes of it.
    package func applied(to impairment: Impairment) -> Impairment {
        func span(_ microseconds: UInt64?) -> TimeSpan? {
            microseconds.map { TimeSpan(nanoseconds: min($0, .max / 1000) * 1000) }
        }
        return impairment.changed(
            rtt: span(rtt), jitter: span(jitter), loss: loss.map(Percentage.init(share:)))
    }
}

/// What became of a change.
package struct ControlChange: Codable, Sendable, Equatable {
    /// Bytes per second that the run, or its group, may use now; nil: not limited.
    package let down: UInt64?
    package let up: UInt64?
    /// Why nothing was changed; nil where it was.
    package let refusal: String?
    /// Why downloads don't wait in a queue, where they were to.
    package let obstacle: String?
    /// How the network is slow besides, in words; nil where it isn't.
    package let impairment: String?

    package init(
        down: Rate, up: Rate, refusal: String? = nil, obstacle: String? = nil, impairment: String? = nil
    ) {
        self.impairment = impairment
        self.down = down.bytesPerSecond
        self.up = up.bytesPerSecond
        self.refusal = refusal
        self.obstacle = obstacle
    }

    /// nil where that is none: the run's user may have made it up.
    package init?(decoding bytes: [UInt8]) {
        guard let change: ControlChange = decoded(bytes),
            [change.down, change.up].allSatisfy({ (1...UInt64(Int64.max)).contains($0 ?? 1) })
        else { return nil }
        self = change
    }
}

/// What a run answers.
package struct ControlAnswer {
    let text: String
    let descriptors: [CInt]

    /// At most 16 descriptors, which stay ours.
    package init(_ text: String, descriptors: [CInt] = []) {
        self.text = text
        self.descriptors = descriptors
    }

    package init(_ change: ControlChange) { self.init(json(change) + "\n") }
}

/// Where a live run answers, beside its record. Its end removes it. Only its user reaches it, and root.
package final class ControlSocket {
    /// A request is one line, and no longer.
    private static let maximumSize = 1024

    private let listening: Descriptor
    private let directory: Descriptor
    private let name: String

    /// Listens beside the record of this name, in place of a socket that a dead run left there.
    package init(of record: String, in directory: RecordDirectory) throws(SystemError) {
        let name = record + RecordFile.socketSuffix
        let subject = "\(directory.path)/\(name)"
        let copy = try attempting("open", directory.path) { () throws(Errno) in try directory.descriptor.copy() }
        let socket = try attempting("listen at", subject) { () throws(Errno) in
            try ControlSocket.listen(name, in: directory)
        }
        self.directory = copy
        listening = socket
        self.name = name
    }

    /// It has its name only when it listens: where connections to it are refused, nobody listens any more.
    private static func listen(_ name: String, in directory: RecordDirectory) throws(Errno) -> Descriptor {
        try inDirectory(directory) { () throws(Errno) in
            let draft = name + RecordFile.draftSuffix
            unlink(draft)
            defer { unlink(draft) }
            let socket = try Descriptor(binding: draft)
            guard Glibc.listen(socket.rawValue, 16) == 0, renameat(AT_FDCWD, draft, AT_FDCWD, name) == 0 else {
                throw Errno(rawValue: errno)
            }
            return socket
        }
    }

    deinit {
        unlinkat(directory.rawValue, name, 0)
    }

    /// Readable when somebody asks.
    package var descriptor: CInt { listening.rawValue }

    /// Takes one request, and sends what `body` makes of it. Others wait meanwhile, but not long.
    package func answer(_ body: (ControlRequest) -> ControlAnswer) {
        let connection = accept(listening.rawValue, nil, nil)
        if connection < 0 { return }
        let peer = Descriptor(owning: connection)
        guard peer.isOfUser(geteuid()),
            let bytes = try? peer.receiveAll(upTo: ControlSocket.maximumSize, milliseconds: 100),
            let request: ControlRequest = decoded(bytes)
        else { return }
        let answer = body(request)
        if answer.descriptors.isEmpty {
            try? peer.sendAll(answer.text, milliseconds: 300)
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
