import Glibc

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

/// The guard's end of the line to the process that limits.
struct Channel: Sendable {
    let descriptor: CInt
    let isDebugging: Bool

    func say(_ kind: Message.Kind, _ text: String) {
        if kind == .debug && !isDebugging { return }
        let bytes = [kind.rawValue] + Array(text.utf8.prefix(4000))
        // Nobody may be there to hear it any more.
        _ = send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
    }
}
