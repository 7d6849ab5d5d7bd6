import Glibc
import Testing

/// The release binary.
enum Binary {
    enum Ending: Equatable {
        case exited(CInt), killed(CInt), hung
    }

    private static let path =
        #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" } + "/.build/release/throttle"

    /// Runs it with words and variables of any bytes but 0, for at most 20 seconds.
    static func run(_ words: [[UInt8]], _ environment: [[UInt8]]) throws -> (Ending, output: String, errors: String) {
        let files = [open("/tmp", O_TMPFILE | O_RDWR, 0o600), open("/tmp", O_TMPFILE | O_RDWR, 0o600)]
        defer { files.forEach { close($0) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        for (file, number) in zip(files, [1, 2] as [CInt]) { posix_spawn_file_actions_adddup2(&actions, file, number) }
        var pid: pid_t = 0
        let result = withCStrings([Array(path.utf8)] + words) { words in
            withCStrings(environment) { posix_spawn(&pid, path, &actions, nil, words, $0) }
        }
        try #require(result == 0, "make build comes first")
        return (ending(of: pid), text(files[0]), text(files[1]))
    }

    private static let O_TMPFILE: CInt = 0o20200000  // needs _GNU_SOURCE

    private static func ending(of pid: pid_t) -> Ending {
        var status: CInt = 0
        for _ in 0..<40_000 {
            if waitpid(pid, &status, WNOHANG) == pid {
                return status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .killed(status & 0x7f)
            }
            usleep(500)
        }
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        return .hung
    }

    private static func text(_ file: CInt) -> String {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = pread(file, &buffer, buffer.count, 0)
        return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
    }

    private static func withCStrings<Result>(
        _ strings: [[UInt8]], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let pointers = strings.map { strdup($0.map { CChar(bitPattern: $0) } + [0]) }
        defer { pointers.forEach { free($0) } }
        return body(pointers + [nil])
    }
}
