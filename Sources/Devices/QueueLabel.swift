import Glibc
import Kernel

/// The alias of a queue's device: whose it is.
struct QueueLabel {
    let run: String
    /// nil in a user namespace of its own, where an id may stand for another user.
    let user: uid_t?

    /// Of a run of the caller's.
    init(run: String) {
        self.run = run
        user = Host.hasUserIDsOfItsOwn ? nil : geteuid()
    }

    /// nil where that is no label.
    init?(_ text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count >= 3, words[0] == "throttle", words[1] == "run" else { return nil }
        run = String(words[2])
        user = words.count == 6 ? uid_t(words[5]) : nil
    }

    var text: String { "throttle run \(run)" + (user.map { " of user \($0)" } ?? "") }
}

extension Device {
    /// Of a queue of ours; nil of anything else, and of one that was cut short before it had an alias.
    var queueLabel: QueueLabel? { hasNameOfQueue(for: Side.allCases) ? alias.flatMap(QueueLabel.init) : nil }

    /// Whether it is the owner of a queue of ours; one that was cut short has no alias yet.
    func isQueue(for sides: [Side] = Side.allCases) -> Bool {
        hasNameOfQueue(for: sides) && (alias == nil || queueLabel != nil)
    }

    private func hasNameOfQueue(for sides: [Side]) -> Bool {
        kind == "ifb"
            && sides.contains { side in
                name.hasPrefix(side.queuePrefix)
                    && name.dropFirst(side.queuePrefix.count).allSatisfy { $0.isASCII && ($0.isNumber || $0 == "-") }
            }
    }
}

extension Side {
    /// What the names of devices begin with that are or own queues for it.
    package var queuePrefix: String { self == .ingress ? "thr-" : "thu-" }
}
