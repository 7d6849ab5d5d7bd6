import CKernel
import Glibc
import Kernel
import SystemPackage

/// What the guard tells: one packet each.
struct Message {
    enum Kind: UInt8 {
        case ready, obstacle, info, debug, warning
    }

    let kind: Kind
    let text: String

    init(decoding bytes: some Collection<UInt8>) {
        kind = bytes.first.flatMap(Kind.init) ?? .debug
        text = String(decoding: bytes.dropFirst(), as: UTF8.self)
    }
}

/// What a run set up, as one packet tells its guard: names, and descriptors that keep it alive. Those that nobody takes
/// are closed, so that what the guard refuses isn't kept alive by it.
struct Estate: ~Copyable {
    /// The name of the parent cgroup, that of the record (empty: none), and how programs were attached.
    let words: [String]
    /// The locks of the parent cgroup and of the record, if there is one, then links.
    private var descriptors: [CInt]

    init(words: [String], owning descriptors: [CInt]) {
        self.words = words
        self.descriptors = descriptors
    }

    /// Whether it stands for the end of a run that was never set up.
    var isEnd: Bool { words.allSatisfy(\.isEmpty) }

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

/// The guard's end of the line to the process that limits.
struct Channel: Sendable {
    let descriptor: CInt
    let isDebugging: Bool

    func say(_ kind: Message.Kind, _ text: String) {
        if kind == .debug && !isDebugging { return }
        let bytes = [kind.rawValue] + Array(text.utf8.prefix(4000))
        // Again where memory is short for a moment: somebody may wait for this.
        for _ in 0..<10 {
            let sent = Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
            // Nobody may be there to hear it any more, or listen.
            if sent >= 0 || [EPIPE, EAGAIN].contains(errno) { return }
            usleep(1000)
        }
    }

    var undoLog: UndoLog { { line, isFailure in say(isFailure ? .warning : .debug, line) } }

    /// Waits for what is to be guarded; nil where the other end was closed before there was anything.
    func receive() throws(SystemError) -> Estate? {
        var bytes = [UInt8](repeating: 0, count: 4096)
        var descriptors = [CInt](repeating: -1, count: Int(KERNEL_MAX_FDS))
        var count: CInt = 0
        let size = kernel_receive_fds(descriptor, &bytes, bytes.count, &descriptors, &count)
        let failure = Errno(rawValue: errno)
        let words = bytes.prefix(max(0, size)).split(separator: 0, omittingEmptySubsequences: false)
        let estate = Estate(
            words: words.map { String(decoding: $0, as: UTF8.self) }, owning: Array(descriptors.prefix(Int(count))))
        if size < 0 { throw SystemError("take over", "the run", errno: failure) }
        return size > 0 ? consume estate : nil
    }

    /// Whether the other end says that it ends the run; false where it has closed, and maybe left the run to us.
    func receiveEnd() -> Bool {
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, 0) > 0
    }

    /// Says that there is nothing more to say, and waits until the other end is closed.
    func finish() {
        hangUp()
        while receiveEnd() {}
    }

    /// Says that there is nothing more to say.
    func hangUp() {
        shutdown(descriptor, CInt(SHUT_WR))
    }

    static func sendEnd(to descriptor: CInt) {
        _ = Glibc.send(descriptor, [UInt8(0)], 1, CInt(MSG_NOSIGNAL))
    }

    /// Sends the words and descriptors of an estate.
    static func send(_ words: [String], _ descriptors: [CInt], to descriptor: CInt) throws(SystemError) {
        let bytes = Array(words.joined(separator: "\0").utf8)
        if kernel_send_fds(descriptor, bytes, bytes.count, descriptors, CInt(descriptors.count)) < 0 {
            throw SystemError("hand the run over to", "the guard process")
        }
    }
}
