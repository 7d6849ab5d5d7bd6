import Glibc
import Kernel
import Testing

@testable import Records

@Suite struct RecordDirectoryTests {
    private let place: Place
    private let directory: RecordDirectory

    init() throws {
        place = try Place()
        directory = try RecordDirectory(in: place.path, creating: true)
    }

    @Test func `a dead run's record is nobody's while it is told what becomes of it`() throws {
        for id in ["1", "2"] { try place.leaveRecord(id) }
        var told: [String] = []
        directory.removeDead { path, record in
            told.append(record?.id ?? "")
            for id in ["1", "2"] {
                if let file = try? Descriptor(opening: "\(place.records)/\(id)", O_RDONLY) {
                    #expect(flock(file.rawValue, LOCK_EX | LOCK_NB) == 0, "\(id)")
                    // A child that another test forks may have it, too.
                    flock(file.rawValue, LOCK_UN)
                }
            }
            return true
        }
        #expect(told.sorted() == ["1", "2"] && directory.descriptor.entries() == [])
    }

    @Test func `who looks at a dead run's record isn't taken for the run`() throws {
        try place.leaveRecord("1")
        let observer = try Descriptor(opening: "\(place.records)/1", O_RDONLY)
        #expect(flock(observer.rawValue, LOCK_SH | LOCK_NB) == 0)
        #expect(directory.live().records.isEmpty)
        directory.removeDead { _, _ in false }
        #expect(flock(observer.rawValue, LOCK_EX | LOCK_NB) == 0)
        #expect(directory.live().records.map(\.name) == ["1"])
    }

    /// Each looks at all records again and again, and a new one has no lock at first.
    @Test func `a new run has the name that it wants, whoever looks`() async throws {
        let directory = directory
        let observers = (0..<3).map { _ in
            Task.detached {
                while !Task.isCancelled {
                    _ = directory.live()
                    directory.removeDead { _, _ in false }
                }
            }
        }
        var names: Set<String> = []
        for _ in 0..<3000 { names.insert(try directory.record("1").name) }
        for observer in observers { observer.cancel() }
        for observer in observers { await observer.value }
        #expect(names == ["1"])
    }

    @Test func `a new run has a record, whoever cleans up`() async throws {
        let directory = directory
        let cleaner = Task.detached {
            while !Task.isCancelled { directory.removeDead { _, _ in true } }
        }
        for _ in 0..<1000 {
            let record = try directory.record("1")
            #expect(faccessat(directory.descriptor.rawValue, record.name, F_OK, 0) == 0)
        }
        cleaner.cancel()
        await cleaner.value
        directory.removeDead { _, _ in true }
        #expect(directory.descriptor.entries() == [])
    }
}

/// A folder for records. Its end removes it.
private final class Place: Sendable {
    let path: String
    var records: String { path + "/throttle" }

    init() throws {
        var template = Array("/tmp/throttle-records-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("make", "a directory in /tmp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in (try? Descriptor(opening: records, O_RDONLY | O_DIRECTORY))?.entries() ?? [] {
            unlink("\(records)/\(name)")
        }
        rmdir(records)
        rmdir(path)
    }

    /// As a run leaves it that was killed.
    func leaveRecord(_ id: String) throws {
        let record = RunRecord(id: id, name: "a", command: ["a"], cgroup: "/a", down: 1, up: nil)
        try Descriptor(opening: "\(records)/\(id)", O_WRONLY | O_CREAT, mode: 0o600).write(record.encoded)
    }
}
