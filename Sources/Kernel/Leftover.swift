/// Something that a dead run left on the system.
package struct Leftover: Sendable, Equatable {
    package enum Kind: String, Sendable, Codable {
        case cgroup, filter, device, record
    }

    package let kind: Kind
    /// Which one: a path, or the device's name.
    package let name: String
    /// What else there is to say of it.
    package var note: String?
    /// Why it may still be in use, so that it isn't removed; nil where it is dead.
    package var kept: String?
    /// Why it couldn't be removed; nil where it was, or wasn't to be.
    package var failure: String?

    package init(_ kind: Kind, _ name: String, note: String? = nil) {
        self.kind = kind
        self.name = name
        self.note = note
    }

    /// For people: `cgroup /sys/fs/cgroup/throttle-1 (2 processes moved out)`.
    package var description: String { "\(kind.rawValue) \(name)" + (note.map { " (\($0))" } ?? "") }
}
