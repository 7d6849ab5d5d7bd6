import CKernel
import Glibc
import Kernel
import SystemPackage

/// Where the runs of one user are recorded: /run/throttle for root, $XDG_RUNTIME_DIR/throttle for others. Nobody else
/// may read or write it.
package final class RecordDirectory: Sendable {
    /// For people; all work goes through the descriptor.
    package let path: String
    /// The directory, open for reading.
    package let descriptor: Descriptor
    /// Whose it is.
    package let owner: uid_t

    /// Whether it is the caller's: nobody else writes there.
    package var isOwn: Bool { owner == geteuid() }

    /// The caller's, made where it is missing.
    package static func ofCaller() throws(SystemError) -> RecordDirectory {
        let parent =
            geteuid() == 0
            ? "/run" : getenv("XDG_RUNTIME_DIR").map { String(cString: $0) } ?? "/run/user/\(geteuid())"
        return try RecordDirectory(in: parent, creating: true)
    }

    /// Those that the caller may clean: root all, others their own.
    package static func forEach(_ body: (RecordDirectory) -> Void) {
        if let own = try? ofCaller() { body(own) }
        guard geteuid() == 0, let users = try? Descriptor(opening: "/run/user", O_RDONLY | O_DIRECTORY) else { return }
        for user in users.entries() {
            if let uid = uid_t(user), let directory = try? RecordDirectory(in: "/run/user/\(uid)", owner: uid) {
                body(directory)
            }
        }
    }

    /// `parent` must be the owner's, and nobody else's to write: what is in it then can't be swapped.
    init(in parent: String, owner: uid_t = geteuid(), creating: Bool = false) throws(SystemError) {
        path = parent + "/throttle"
        self.owner = owner
        do throws(Errno) {
            descriptor = try RecordDirectory.open(in: parent, owner, creating)
        } catch {
            throw SystemError("use", path, errno: error)
        }
    }

    private static func open(in parent: String, _ owner: uid_t, _ creating: Bool) throws(Errno) -> Descriptor {
        guard parent.hasPrefix("/") else { throw .invalidArgument }
        let above = try Descriptor(opening: parent, KERNEL_PATH_ONLY | O_DIRECTORY | O_NOFOLLOW)
        let isOwn = owner == geteuid()
        // Another user may have mounted what answers nobody.
        if !isOwn && above.isServedByProcess { throw .permissionDenied }
        try above.requireOwner(owner)
        if creating && mkdirat(above.rawValue, "throttle", 0o700) < 0 && Glibc.errno != EEXIST {
            throw Errno(rawValue: Glibc.errno)
        }
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
        let directory =
            isOwn
            ? try Descriptor(opening: "throttle", in: above.rawValue, flags)
            : try Descriptor(openingWithin: above, "throttle", flags)
        try directory.requireOwner(owner)
        return directory
    }

    /// Records a run of this id.
    package func record(_ id: String) throws(SystemError) -> RecordFile {
        do throws(Errno) {
            return try RecordFile(id, in: try descriptor.copy())
        } catch {
            throw SystemError("create", "\(path)/\(id)", errno: error)
        }
    }

    /// The records of live runs, each with its name. Of another user's, who may have put anything there, not more than
    /// there is time for: `isWhole` tells whether these are all.
    package func live() -> (records: [(name: String, RunRecord)], isWhole: Bool) {
        var records: [(String, RunRecord)] = []
        let names = descriptor.entries(limit: isOwn ? .max : RecordDirectory.mostNames)
        var bytes = 0
        for name in names {
            // Who removes it has it for a moment, too.
            guard let file = open(name), file.isLockedByOthers, let content = file.content,
                file.isNamed(name, in: descriptor)
            else { continue }
            bytes += content.count
            if !isOwn && (records.count == RecordDirectory.mostRuns || bytes > RecordDirectory.mostBytes) {
                return (records, false)
            }
            if let record = RunRecord(decoding: content, of: name) { records.append((name, record)) }
        }
        return (records, isOwn || names.count < RecordDirectory.mostNames)
    }

    /// What another user's directory may have.
    private static let (mostNames, mostRuns, mostBytes) = (4096, 1024, 8 << 20)

    /// Calls `body` with the record of each dead run, and what it says, if anything; removes those for which it returns
    /// true. A socket whose record is gone is a record that says nothing. Returns whether these were all.
    @discardableResult
    package func removeDead(_ body: (_ path: String, RunRecord?) -> Bool) -> Bool {
        let names = descriptor.entries(limit: isOwn ? .max : RecordDirectory.mostNames)
        for name in names where name.hasSuffix(RecordFile.socketSuffix) {
            let record = String(name.dropLast(RecordFile.socketSuffix.count))
            // Who listens there has a record: it is made first.
            guard faccessat(descriptor.rawValue, record, F_OK, AT_SYMLINK_NOFOLLOW) < 0, body("\(path)/\(name)", nil)
            else { continue }
            unlinkat(descriptor.rawValue, name, 0)
        }
        for name in names {
            guard let file = open(name), !file.isLockedByOthers else { continue }
            let record = file.content.flatMap { RunRecord(decoding: $0, of: name) }
            // That may take its time: whoever has the lock meanwhile is taken for a live run.
            guard body("\(path)/\(name)", record) else { continue }
            // Others may be looking at it; another user may do so without end.
            guard file.lock(milliseconds: isOwn ? 100 : 1) else { continue }
            if file.isNamed(name, in: descriptor) { removeRecord(name, in: descriptor) }
        }
        return isOwn || names.count < RecordDirectory.mostNames
    }

    /// A record's file; the directory's owner may have put other things there.
    private func open(_ name: String) -> Descriptor? {
        guard let file = try? Descriptor(openingWithin: descriptor, name, O_RDONLY | O_NONBLOCK), file.isRegular else {
            return nil
        }
        return file
    }
}

/// What is larger is no record.
let maximumSize = 1 << 20

extension Descriptor {
    fileprivate func requireOwner(_ owner: uid_t) throws(Errno) {
        var status = stat()
        if fstat(rawValue, &status) < 0 { throw Errno(rawValue: Glibc.errno) }
        if status.st_uid != owner || status.st_mode & 0o022 != 0 { throw .permissionDenied }
    }

    fileprivate var isRegular: Bool {
        var status = stat()
        return fstat(rawValue, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_size <= maximumSize
    }

    /// Its owner may be writing it at this moment, without end.
    fileprivate var content: [UInt8]? { try? readAll(upTo: maximumSize) }
}
