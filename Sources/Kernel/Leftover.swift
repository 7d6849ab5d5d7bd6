/// Something that a dead run left on the system.
public struct Leftover: Sendable, Equatable {
    public enum Kind: String, Sendable, Codable {
        case cgroup, filter, device, record
    }

    public let kind: Kind
    /// Which one: a path, or the device's name.
    public let name: String
    /// What else there is to say of it.
    public var note: String?
    /// Why it may still be in use, so that it isn't removed; nil where it is dead.
    public var kept: String?
    /// Why it couldn't be removed; nil where it was, or wasn't to be.
    public var failure: String?

    public init(_ kind: Kind, _ name: String, note: String? = nil) {
        self.kind = kind
        self.name = name
        self.note = note
    }

    /// For people: `cgroup /sys/fs/cgroup/throttle-1 (2 processes moved out)`.
    public var description: String { "\(kind.rawValue) \(name)" + (note.map { " (\($0))" } ?? "") }
}
