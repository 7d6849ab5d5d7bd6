import CKernel
import Glibc
import Kernel
import SystemPackage
import Units

/// A group that was created to stay without runs, too.
package struct GroupRecord: Codable, Sendable, Equatable {
    package var schema = 1
    package let name: String
    /// Bytes per second; nil: not limited.
    package let down: UInt64?
    package let up: UInt64?

    package init(name: String, down: UInt64?, up: UInt64?) {
        self.name = name
        self.down = down
        self.up = up
    }
}

/// The groups of one user that were created to stay. While this lives, nobody else joins or changes a group of theirs.
package struct GroupRecords: ~Copyable {
    private static let folder = "groups"
    private static let maximumSize = 4096
    /// Between two looks, in microseconds; they go on for a minute, as each of many that join at once needs its time.
    private static let pause: UInt32 = 5000
    private static let looks = 60_000_000 / pause

    private let directory: Descriptor
    private let path: String

    /// Waits until nobody else has them, but not without end.
    package init(of records: RecordDirectory) throws(SystemError) {
        let path = "\(records.path)/\(GroupRecords.folder)"
        let directory = try attempting("use", path) { () throws(Errno) in
            mkdirat(records.descriptor.rawValue, GroupRecords.folder, 0o700)
            return try Descriptor(
                opening: GroupRecords.folder, in: records.descriptor.rawValue, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        }
        try GroupRecords.lock(directory, path)
        self.path = path
        self.directory = directory
    }

    /// Waits by looking again and again, as signals are blocked, which are to end it, too.
    private static func lock(_ directory: borrowing Descriptor, _ path: String) throws(SystemError) {
        for _ in 0..<looks {
            if flock(directory.rawValue, LOCK_EX | LOCK_NB) == 0 { return }
            if errno != EWOULDBLOCK || kernel_is_ending() { throw SystemError("use", path) }
            usleep(pause)
        }
        throw SystemError("use", path, errno: .resourceBusy, hint: "another throttle has it: is one stopped?")
    }

    package var all: [GroupRecord] { directory.entries().compactMap { find($0) }.sorted { $0.name < $1.name } }

    /// nil where there is none of this name.
    package func find(_ name: String) -> GroupRecord? {
        let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK
        guard let file = try? Descriptor(opening: name, in: directory.rawValue, flags),
            let bytes = try? file.readAll(upTo: GroupRecords.maximumSize), let record: GroupRecord = decoded(bytes)
        else { return nil }
        let isOurs = record.schema == 1 && [record.down, record.up].allSatisfy { $0 ?? 1 <= Int64.max }
        return isOurs && record.name == name ? record : nil
    }

    /// Writes it as a whole, or not at all.
    package func write(_ record: GroupRecord) throws(SystemError) {
        try attempting("write", "\(path)/\(record.name)") { () throws(Errno) in
            // No group's name begins so.
            let draft = ".\(record.name)"
            unlinkat(directory.rawValue, draft, 0)
            defer { unlinkat(directory.rawValue, draft, 0) }
            let flags = O_WRONLY | O_CREAT | O_EXCL
            try Descriptor(opening: draft, in: directory.rawValue, flags, mode: 0o600).write(json(record) + "\n")
            guard renameat(directory.rawValue, draft, directory.rawValue, record.name) == 0 else {
                throw Errno(rawValue: errno)
            }
        }
    }

    package func remove(_ name: String) throws(SystemError) {
        if unlinkat(directory.rawValue, name, 0) < 0 { throw SystemError("remove", "\(path)/\(name)") }
    }
}
