import Glibc
import Kernel
import SystemPackage
import Units

/// What a run writes down about itself, for `throttle cleanup` and the like.
package struct RunRecord: Codable, Sendable, Equatable {
    package var schema = 1
    /// The run's, as in the name of its cgroup.
    package let id: String
    /// For people: --name, or the command's first word.
    package let name: String
    package let command: [String]
    /// Of its throttle.
    package let pid: Int32
    /// The run's parent cgroup, as the run saw it.
    package let cgroup: String
    /// The inode of the network namespace that its devices are in; 0 where that can't be told.
    package let network_namespace: UInt64
    /// Those of other network namespaces that had devices of the run's.
    package fileprivate(set) var other_namespaces: [UInt64]?
    /// Seconds since 1970.
    package let started: Int
    /// Bytes per second; nil: not limited.
    package fileprivate(set) var down: UInt64?
    package fileprivate(set) var up: UInt64?
    /// The group whose budget it shares.
    package let group: String?
    /// Whether it gives way to others; nil: it doesn't.
    package fileprivate(set) var background: Bool?

    package init(
        id: String, name: String, command: [String], cgroup: String, down: UInt64?, up: UInt64?, group: String? = nil,
        isBackground: Bool = false
    ) {
        background = isBackground ? true : nil
        self.id = id
        self.name = name
        self.command = command
        pid = getpid()
        self.cgroup = cgroup
        network_namespace = Host.networkNamespace ?? 0
        started = time(nil)
        self.down = down
        self.up = up
        self.group = group
    }

    /// nil if these bytes are no record, or one that can't be in the file of that name.
    init?(decoding bytes: [UInt8], of file: String) {
        guard let record: RunRecord = decoded(bytes), record.isPlausible(in: file) else { return nil }
        self = record
    }

    /// Others may have written it.
    private func isPlausible(in file: String) -> Bool {
        let isItsFile = file == id || (2...RecordFile.attempts).contains { file == "\(id).\($0)" }
        return schema == 1 && id.isPlainName && isItsFile && pid > 0 && (0...RunRecord.endOfTime).contains(started)
            && [down, up].allSatisfy { (1...UInt64(Int64.max)).contains($0 ?? 1) } && group?.isPlainName != false
    }

    /// All network namespaces that devices of the run may be in.
    package var namespaces: Set<UInt64> { Set((other_namespaces ?? []) + [network_namespace]) }

    /// The year 9999.
    private static let endOfTime = 253_402_300_799

    var encoded: String { json(self) }
}

/// The record of a run that lives: its file is locked, which dies with those who hold it. Its end removes the file.
package struct RecordFile: ~Copyable {
    /// In the directory: the run's id, and `.2` and so on where that was taken.
    package let name: String
    private let file: Descriptor
    private let directory: Descriptor
    private var isLeft = false

    static let attempts = 100
    /// What the name of its control socket has behind that of the record.
    package static let socketSuffix = ".socket"
    /// And that of the socket until it listens.
    package static let draftSuffix = ".new"

    /// Makes the file, which is empty at first, and locks it.
    init(_ id: String, in directory: consuming Descriptor) throws(Errno) {
        for attempt in 1...RecordFile.attempts {
            // What a run of that id left, or a run of it in another pid namespace may be there.
            let name = attempt == 1 ? id : "\(id).\(attempt)"
            do throws(Errno) {
                let file = try Descriptor(
                    opening: name, in: directory.rawValue, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
                // Others may be looking at it, and a cleanup may have taken it for dead before it was locked.
                guard file.lock(milliseconds: 100), file.isNamed(name, in: directory) else { continue }
                // Whoever listened there has ended.
                removeSocket(of: name, in: directory)
                self.name = name
                self.file = file
                self.directory = directory
                return
            } catch {
                if error != .fileExists { throw error }
            }
        }
        throw .fileExists
    }

    /// The record that another process made, whose lock it shares with us by this descriptor.
    package init(
        sharing lock: consuming Descriptor, named name: String, in directory: RecordDirectory
    ) throws(SystemError) {
        self.directory = try attempting("open", directory.path) { () throws(Errno) in
            try directory.descriptor.copy()
        }
        self.name = name
        file = lock
    }

    /// What keeps the record alive in whatever process has it.
    package var descriptor: CInt { file.rawValue }

    /// Writes its only content.
    package func write(_ record: RunRecord) throws(SystemError) {
        try attempting("write", "the record \(name)") { () throws(Errno) in try file.write(record.encoded + "\n") }
    }

    /// Writes down the run's limits, in bytes per second (nil: not limited), and network namespaces. It stays as long as it
    /// is at least, so that it is whole with one call: others may be reading it.
    package func change(down: UInt64?, up: UInt64?, isBackground: Bool = false, otherNamespaces: [UInt64]) {
        var status = stat()
        guard fstat(file.rawValue, &status) == 0, lseek(file.rawValue, 0, SEEK_SET) == 0,
            let bytes = try? file.readAll(upTo: maximumSize), var record = RunRecord(decoding: bytes, of: name)
        else { return }
        (record.down, record.up) = (down, up)
        record.background = isBackground ? true : nil
        record.other_namespaces = otherNamespaces.isEmpty ? nil : otherNamespaces
        let text = Array(record.encoded.utf8)
        let padding = [UInt8](repeating: UInt8(ascii: " "), count: max(0, Int(status.st_size) - text.count - 1))
        let content = text + padding + [UInt8(ascii: "\n")]
        pwrite(file.rawValue, content, content.count, 0)
    }

    /// Takes our hands off: another process has the lock, too, and removes the file.
    package mutating func leave() {
        isLeft = true
    }

    deinit {
        if !isLeft && file.isNamed(name, in: directory) { removeRecord(name, in: directory) }
    }
}

/// Removes what the guard of a record listened at, as where it was killed.
private func removeSocket(of record: String, in directory: borrowing Descriptor) {
    unlinkat(directory.rawValue, record + RecordFile.socketSuffix + RecordFile.draftSuffix, 0)
    unlinkat(directory.rawValue, record + RecordFile.socketSuffix, 0)
}

/// Removes a record, and the socket that a killed guard may have left.
func removeRecord(_ name: String, in directory: borrowing Descriptor) {
    removeSocket(of: name, in: directory)
    unlinkat(directory.rawValue, name, 0)
}
