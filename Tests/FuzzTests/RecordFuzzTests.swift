import Glibc
import Kernel
import Reports
import TestSupport
import Testing

@testable import Records
@testable import Control
@testable import Runs
@testable import throttle

@Suite(.serialized) struct RecordFuzzTests {
    private static let records =
        Corpus.bytes([
            RunRecord(id: "1", name: "a", command: ["a", "\u{1b}"], cgroup: "/a", down: 1, up: nil).encoded,
            RunRecord(id: "1", name: "a", command: ["a"], cgroup: "/a", down: nil, up: nil, isBackground: true).encoded,
            #"{"schema":1,"id":"7-2","name":"wget","command":["wget","x"],"pid":7,"cgroup":"/throttle-7","#
                + #""network_namespace":4026531840,"started":1763740800,"down":50000,"up":9223372036854775807}"#,
            "{}", "[]", "null", "\"", "{\"id\":1e999999}", "",
        ]) + [513, 5000].map { [UInt8](repeating: UInt8(ascii: "["), count: $0) }

    @Test(arguments: Fuzzing.seeds)
    func `bytes are a record that can be written again, or none`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            try Fuzzing.run(seed: seed, times: 2000) { random in
                let bytes = random.mutated(RecordFuzzTests.records)
                let file = random.pick(["1", "7-2", "7-2.2"])
                guard let record = RunRecord(decoding: bytes, of: file) else { return }
                let again = RunRecord(decoding: Array(record.encoded.utf8), of: file)
                #expect(again == record, "seed \(seed): \(bytes)")
            }
        }
    }

    /// Whatever its owner has put there.
    @Test(arguments: Fuzzing.seeds)
    func `only the files of dead runs leave the directory`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            try Fuzzing.run(seed: seed, times: 60) { random in
                let place = try Place()
                let directory = try RecordDirectory(in: place.path, creating: true)
                for number in 0..<random.below(16) {
                    place.add(random.name(number), random.pick(Kind.allCases), random.mutated(RecordFuzzTests.records))
                }
                let input = "seed \(seed): \(place.kinds.map { "\(String(decoding: $0, as: UTF8.self)): \($1)" })"
                let alive = place.kinds.values.count { $0 == .locked }
                #expect(directory.live().records.count <= alive && place.removed.isEmpty, "\(input)")
                directory.removeDead { _, _ in false }
                #expect(place.removed.isEmpty, "\(input)")
                directory.removeDead { _, _ in true }
                #expect(place.removed == place.dead, "\(input)")
                #expect(try readText(place.outside) == "whole", "\(input)")
            }
        }
    }

    private static let answers = Corpus.bytes([
        answer(download: traffic("18446744073709551615"), upload: traffic("0", limit: "1"), elapsed: "1.5"),
        answer(download: traffic("0"), upload: traffic("9007199254740993"), elapsed: "1e10"), "",
    ])

    private static func answer(download: String, upload: String, elapsed: String) -> String {
        #"{"schema":1,"name":"n","command":["c"],"elapsed_seconds":\#(elapsed),"mode":"auto","planes":["police"],"#
            + #""count":"wire","burst_seconds":0.2,"not_throttled":false,"left_behind":0,"linger":"keep","warnings":[],"#
            + #""group":{"name":"g","runs":1},"rtt_seconds":0.1,"jitter_seconds":-1e99,"loss_share":0.5,"#
            + #""background":{"download_bytes_per_second":1,"download_away":true,"upload_away":false,"download_yields":1,"#
            + #""upload_yields":4294967295,"base_seconds":-1,"queueing_seconds":1e99},"download":\#(download),"upload":\#(upload)}"#
    }

    private static func traffic(_ bytes: String, limit: String = "2") -> String {
        #"{"limit_bytes_per_second":\#(limit),"achieved_bytes_per_second":1.5,"verdict":"throttled","averaged_seconds":1,"#
            + #""program_calls":1,"passed_packets":1,"passed_payload_bytes":\#(bytes),"passed_wire_bytes":\#(bytes),"#
            + #""dropped_packets":0,"dropped_payload_bytes":0,"dropped_packet_share":0,"exempt_packets":0,"exempt_bytes":0}"#
    }

    /// Whatever their owners have written, and answer.
    @Test(arguments: Fuzzing.seeds)
    func `any two looks at a run are a row that a terminal shows`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            try Fuzzing.run(seed: seed, times: 1000) { random in
                let bytes = random.mutated(RecordFuzzTests.records)
                let runs = (0..<2).compactMap { _ in
                    RunRecord(decoding: bytes, of: "7-2").map { record in
                        LiveRun(
                            id: "1/7-2", user: 1, record: record,
                            report: ReportDocument(decoding: random.mutated(RecordFuzzTests.answers)))
                    }
                }
                let rows = runs.map { ListCommand.Row($0, runs) }
                let list = ListCommand()
                for text in [list.document(rows)] + list.table(rows).split(separator: "\n").map(String.init) {
                    #expect(text == text.printable, "seed \(seed): \(bytes)")
                }
            }
        }
    }

    private static let groupRecords = Corpus.bytes([
        #"{"schema":1,"name":"g","down":50000,"up":18446744073709551615}"#, #"{"schema":2,"name":"g","down":50000}"#,
        #"{"schema":1,"name":"g"}"#, "{}", "",
    ])

    /// Whatever its owner has put there: none hangs, and none leads elsewhere.
    @Test(arguments: Fuzzing.seeds)
    func `a group is written whole, or not at all`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            try Fuzzing.run(seed: seed, times: 60) { random in
                let place = try Place(folder: "throttle/groups")
                let records = try RecordDirectory(in: place.path, creating: true)
                _ = try GroupRecords(of: records)
                for name in ["g", ".g", "other", random.pick(["é", "\u{1b}", ".other"])] {
                    place.add(
                        Array(name.utf8), random.pick(Kind.allCases), random.mutated(RecordFuzzTests.groupRecords))
                }
                let input = "seed \(seed): \(place.kinds.map { "\(String(decoding: $0, as: UTF8.self)): \($1)" })"
                let groups = try GroupRecords(of: records)
                #expect(
                    groups.all.allSatisfy { $0.schema == 1 && $0.down ?? 1 <= Int64.max && $0.up ?? 1 <= Int64.max })
                let record = GroupRecord(name: "g", down: 1, up: nil)
                let isBlocked = [Array("g".utf8), Array(".g".utf8)].contains { place.kinds[$0] == .directory }
                #expect((try? groups.write(record)) == nil ? isBlocked : groups.find("g") == record, "\(input)")
                #expect(try readText(place.outside) == "whole", "\(input)")
                unlink("\(place.path)/throttle/groups/g")
            }
        }
    }

    @Test func `a file without an end is not read for ever`() throws {
        let zeros = try Descriptor(opening: "/dev/zero", O_RDONLY)
        #expect(try zeros.readAll(upTo: 1 << 20).count < 2 << 20)
    }
}

extension SeededGenerator {
    /// A name of any bytes, mostly.
    fileprivate mutating func name(_ number: Int) -> [UInt8] {
        let rest = below(2) == 0 ? [] : mutated(Corpus.bytes(["-1", ".tmp", "é"]))
        return Array("\(number)".utf8) + rest.filter { $0 != 0 && $0 != UInt8(ascii: "/") }
    }
}

private enum Kind: CaseIterable {
    case plain, locked, huge, pipe, directory, socket, device, hardLink, link, looseLink, linkToItself
}

/// A directory of records that holds more than records, and a file beside it that nothing may happen to.
private final class Place {
    let path: String
    var outside: String { path + "/outside" }
    private(set) var kinds: [[UInt8]: Kind] = [:]
    private var locks: [CInt] = []

    private let folder: String

    /// `folder`: where the records are, below `path`.
    init(folder: String = "throttle") throws {
        self.folder = folder
        var template = Array("/tmp/throttle-fuzz-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("make", "a directory in /tmp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        _ = write(Array("whole".utf8), to: Array(outside.utf8CString))
    }

    deinit {
        locks.forEach { close($0) }
        for name in kinds.keys where unlink(entry(name)) != 0 { rmdir(entry(name)) }
        unlink(outside)
        rmdir(path + "/" + folder)
        rmdir(path + "/throttle")
        rmdir(path)
    }

    func add(_ name: [UInt8], _ kind: Kind, _ content: [UInt8]) {
        let entry = entry(name)
        let isMade =
            switch kind {
            case .plain: write(content, to: entry)
            case .locked: write(content, to: entry) && lock(entry)
            case .huge: write(content, to: entry) && truncate(entry, 1 << 40) == 0
            case .pipe: mkfifo(entry, 0o600) == 0
            case .directory: mkdir(entry, 0o700) == 0
            case .socket: mknod(entry, S_IFSOCK | 0o600, 0) == 0
            case .device: mknod(entry, S_IFCHR | 0o600, 0x103) == 0  // /dev/null
            case .hardLink: Glibc.link(outside, entry) == 0
            case .link: symlink(outside, entry) == 0
            case .looseLink: symlink("nowhere", entry) == 0
            case .linkToItself: symlink(entry, entry) == 0
            }
        if isMade { kinds[name] = kind }
    }

    /// Names that are gone.
    var removed: Set<[UInt8]> {
        var status = stat()
        return Set(kinds.keys.filter { lstat(entry($0), &status) != 0 })
    }

    /// Names that are to go: no name of ours is anything but UTF-8.
    var dead: Set<[UInt8]> {
        Set(
            kinds.filter { [.plain, .hardLink].contains($1) && Array(String(decoding: $0, as: UTF8.self).utf8) == $0 }
                .keys)
    }

    private func entry(_ name: [UInt8]) -> [CChar] {
        "\(path)/\(folder)/".utf8CString.dropLast() + name.map { CChar(bitPattern: $0) } + [0]
    }

    private func write(_ bytes: [UInt8], to path: [CChar]) -> Bool {
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        defer { if file >= 0 { close(file) } }
        return Glibc.write(file, bytes, bytes.count) == bytes.count
    }

    private func lock(_ path: [CChar]) -> Bool {
        locks.append(open(path, O_RDONLY))
        return flock(locks.last ?? -1, LOCK_EX | LOCK_NB) == 0
    }
}
