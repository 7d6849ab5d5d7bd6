import CKernel
import Glibc
import Kernel
import Logging
import Programs
import SystemPackage

/// What throttle tells its guard: one packet each.
enum ToGuard: ~Copyable {
    /// To hold a run that is set up.
    case take(Handover)
    /// That the run is over, or was never set up.
    case end
}

/// What the guard tells throttle: one packet each.
enum FromGuard: Equatable {
    /// That the planes are set up, or can't be.
    case ready
    /// That programs are loaded, which come with this, or can't be.
    case programs
    case log(Logger.Level, String)
}

/// What there is to hold: names, and descriptors that keep it alive. Those that nobody takes are closed, so that what the
/// guard refuses isn't kept alive by it.
struct Handover: ~Copyable {
    /// The name of the parent cgroup.
    let cgroup: String
    /// That of the record; nil where there is none.
    let record: String?
    /// How programs were attached.
    let method: AttachMethod
    /// The locks of the parent cgroup and of the record, if there is one, then links.
    private var descriptors: [CInt]

    /// Owns the descriptors, unless it is nil, as these words are no handover.
    init?(decoding words: [String], owning descriptors: [CInt]) {
        guard words.count == 3, let method = AttachMethod(rawValue: words[2]) else { return nil }
        cgroup = words[0]
        record = words[1].isEmpty ? nil : words[1]
        self.method = method
        self.descriptors = descriptors
    }

    mutating func takeFirst() -> Descriptor? {
        descriptors.isEmpty ? nil : Descriptor(owning: descriptors.removeFirst())
    }

    mutating func takeRest() -> [CInt] {
        defer { descriptors = [] }
        return descriptors
    }

    deinit {
        for descriptor in descriptors { close(descriptor) }
    }
}

/// What one end of the line has received: one packet, empty where the other end is closed.
struct LinePacket {
    let bytes: ArraySlice<UInt8>
    /// The receiver's own.
    let descriptors: [CInt]
    /// Why there is none.
    let failure: Errno?

    /// Waits for it.
    init(on descriptor: CInt) {
        var buffer = [UInt8](repeating: 0, count: 4096)
        var descriptors = [CInt](repeating: -1, count: Int(KERNEL_MAX_FDS))
        var count: CInt = 0
        var size = kernel_receive_fds(descriptor, &buffer, buffer.count, &descriptors, &count)
        // Told once, before what is there to be read: the other end left something of ours unread (unix(7)).
        if size < 0 && errno == ECONNRESET {
            size = kernel_receive_fds(descriptor, &buffer, buffer.count, &descriptors, &count)
        }
        failure = size < 0 ? Errno(rawValue: errno) : nil
        bytes = buffer.prefix(max(0, size))
        self.descriptors = Array(descriptors.prefix(Int(count)))
    }
}

/// The guard's end of the line to throttle.
struct Channel: Sendable {
    let descriptor: CInt

    func say(_ message: FromGuard) {
        let bytes = message.encoded
        // Again where memory is short for a moment: somebody may wait for this.
        for _ in 0..<10 {
            let sent = Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
            // Nobody may be there to hear it any more, or listen.
            if sent >= 0 || [EPIPE, EAGAIN].contains(errno) { return }
            usleep(1000)
        }
    }

    /// Lends programs, by their descriptors; none where there are none.
    func lend(_ programs: borrowing TCPPrograms?) {
        let descriptors =
            switch programs {
            case .some(let programs): programs.descriptors
            case nil: [CInt]()
            }
        let bytes = FromGuard.programs.encoded
        // Where that fails, throttle does without them.
        if descriptors.isEmpty
            || kernel_send_fds(descriptor, bytes, bytes.count, descriptors, CInt(descriptors.count)) < 0
        {
            say(.programs)
        }
    }

    /// Says on the line what is logged at `level` and above.
    func logger(_ level: Logger.Level) -> Logger {
        Logger(label: "guard") { _ in ChannelLog(channel: self, logLevel: level) }
    }

    /// Waits for a message; nil where the other end was closed, and has maybe left the run to us.
    func receive() throws(SystemError) -> ToGuard? {
        let packet = LinePacket(on: descriptor)
        let words = packet.bytes.dropFirst().split(separator: 0, omittingEmptySubsequences: false)
        if let mark = packet.bytes.first, mark != ToGuard.endMark,
            let handover = Handover(
                decoding: words.map { String(decoding: $0, as: UTF8.self) }, owning: packet.descriptors)
        {
            return .take(handover)
        }
        for descriptor in packet.descriptors { close(descriptor) }
        if let failure = packet.failure { throw SystemError("take over", "the run", errno: failure) }
        guard let mark = packet.bytes.first else { return nil }
        if mark == ToGuard.endMark { return .end }
        throw SystemError("take over", "the run", errno: .invalidArgument)
    }

    /// Says that there is nothing more to say, and waits until the other end is closed.
    func finish() {
        hangUp()
        var byte: UInt8 = 0
        while recv(descriptor, &byte, 1, 0) > 0 {}
    }

    /// Says that there is nothing more to say.
    func hangUp() {
        shutdown(descriptor, CInt(SHUT_WR))
    }
}

private struct ChannelLog: LogHandler {
    let channel: Channel
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { channel.say(.log(event.level, "\(event.message)")) }
}

extension ToGuard {
    static let endMark: UInt8 = 0
    private static let takeMark: UInt8 = 1

    static func sendEnd(to descriptor: CInt) {
        _ = Glibc.send(descriptor, [endMark], 1, CInt(MSG_NOSIGNAL))
    }

    /// Hands over what there is to hold. `descriptors`: as a `Handover` has them; they stay ours, too.
    static func sendHandover(
        cgroup: String, record: String?, _ method: AttachMethod, _ descriptors: [CInt], to descriptor: CInt
    ) throws(SystemError) {
        let words = [cgroup, record ?? "", method.rawValue]
        let bytes = [takeMark] + Array(words.joined(separator: "\0").utf8)
        if kernel_send_fds(descriptor, bytes, bytes.count, descriptors, CInt(descriptors.count)) < 0 {
            throw SystemError("hand the run over to", "the guard process")
        }
    }
}

extension FromGuard {
    fileprivate var encoded: [UInt8] {
        switch self {
        case .ready: [0]
        case .programs: [FromGuard.programsMark]
        case .log(let level, let text):
            [UInt8(Logger.Level.allCases.firstIndex(of: level) ?? 0) + 1] + Array(text.utf8.prefix(4000))
        }
    }

    private static let programsMark: UInt8 = 255

    init(decoding bytes: some Collection<UInt8>) {
        let levels = Logger.Level.allCases
        guard let mark = bytes.first, mark > 0 else { self = .ready; return }
        if mark == FromGuard.programsMark { self = .programs; return }
        let level = Int(mark) <= levels.count ? levels[Int(mark) - 1] : .debug
        self = .log(level, String(decoding: bytes.dropFirst(), as: UTF8.self))
    }
}
