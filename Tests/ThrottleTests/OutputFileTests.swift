import Glibc
import Kernel
import Testing

@testable import throttle

@Suite struct OutputFileTests {
    @Test func `a report replaces what was in its file, and not before it is there`() throws {
        let path = "/tmp/throttle-tests-\(getpid())"
        defer { unlink(path) }
        try Descriptor(opening: path, O_WRONLY | O_CREAT, mode: 0o600).write("something longer than the report\n")
        let run = try parse("-d", "50k", "--stats-file", path, "true")
        let file = try run.reporting.openOutput()
        #expect(try readText(path) == "something longer than the report\n")
        try file?.replace(with: "report\n")
        #expect(try readText(path) == "report\n")
    }

    @Test func `a file that can't be opened is named`() throws {
        let run = try parse("-d", "50k", "--stats-file", "/no/such/file", "true")
        let error = #expect(throws: SystemError.self) { _ = try run.reporting.openOutput() }
        #expect(error?.description == "can't open /no/such/file: No such file or directory")
    }

    @Test func `without the option there is no file`() throws {
        let file = try parse("-d", "50k", "true").reporting.openOutput()
        let isNone =
            switch file {
            case nil: true
            case .some: false
            }
        #expect(isNone)
    }
}
