import Foundation

/// How a process ended, as its parent sees it.
enum Ending: Equatable {
    case exited(CInt)
    case killed(CInt)

    init(waitStatus: CInt) {
        let signal = waitStatus & 0x7f
        self = signal == 0 ? .exited(waitStatus >> 8 & 0xff) : .killed(signal)
    }
}

/// A process that has ended, and what it wrote.
struct Completed {
    let ending: Ending
    let stdout: String
    let stderr: String
    /// Wall-clock time from start to end.
    let seconds: Double
}

/// Why the harness itself can't go on.
struct HarnessError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A process that we started. It starts with default signal dispositions and an empty mask. Killed, if it still
/// runs, when nobody holds it any more.
final class Child {
    enum Input {
        case null
        /// Open and silent until `closeInput()`.
        case pipe
    }

    let pid: pid_t
    private let words: [String]
    private let output: Capture
    private let errors: Capture
    private var inputEnd: CInt = -1
    private let began = ContinuousClock.now
    private var completed: Completed?

    init(_ words: [String], environment: [String: String] = [:], input: Input = .null) throws {
        self.words = words
        output = try Capture()
        errors = try Capture()
        var ends: [CInt] = [-1, -1]
        if input == .pipe {
            let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
            guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw HarnessError("socketpair: \(errno)") }
        }
        defer { if ends[0] >= 0 { close(ends[0]) } }
        inputEnd = ends[1]
        pid = try spawn(words, environment, descriptors: (ends[0], output.descriptor, errors.descriptor))
    }

    deinit {
        closeInput()
        if completed == nil {
            kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
        }
    }

    /// What it wrote so far.
    var stdout: String { output.text }
    var stderr: String { errors.text }

    func closeInput() {
        if inputEnd >= 0 { close(inputEnd) }
        inputEnd = -1
    }

    func send(_ signal: CInt) {
        if completed == nil { kill(pid, signal) }
    }

    /// Whether it has ended; collects it if so.
    func hasEnded() -> Bool {
        if completed != nil { return true }
        var status: CInt = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return false }
        let seconds = (ContinuousClock.now - began) / .seconds(1)
        completed = Completed(
            ending: Ending(waitStatus: status), stdout: stdout, stderr: stderr, seconds: seconds)
        return true
    }

    /// Waits for its end. `timeout` only guards against hangs.
    func wait(timeout: Duration = .seconds(60)) throws -> Completed {
        let ended = poll(timeout: timeout) { hasEnded() }
        guard ended, let completed else {
            kill(pid, SIGKILL)
            throw HarnessError(
                "still running after \(timeout): \(words.joined(separator: " "))\n\(stdout)\n\(stderr)")
        }
        return completed
    }

    /// Waits until it has written `text` to standard output.
    func waitForOutput(_ text: String, timeout: Duration = .seconds(30)) throws {
        guard poll(timeout: timeout, until: { stdout.contains(text) }) else {
            throw HarnessError(
                "no '\(text)' from \(words.joined(separator: " ")), but: \(stdout)\nand on stderr: \(stderr)")
        }
    }
}

/// A file without a name that a process writes to.
private final class Capture {
    let descriptor: CInt

    init() throws {
        let temporary: CInt = 0o20200000  // O_TMPFILE, which needs _GNU_SOURCE
        descriptor = open("/tmp", temporary | O_RDWR | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw HarnessError("open with O_TMPFILE: \(errno)") }
    }

    deinit {
        close(descriptor)
    }

    var text: String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = pread(descriptor, &buffer, buffer.count, off_t(bytes.count))
            if count <= 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += buffer[..<count]
        }
    }
}

/// Repeats `condition` until it holds. Returns whether it did before the time-out.
func poll(timeout: Duration = .seconds(30), until condition: () -> Bool) -> Bool {
    let deadline = ContinuousClock.now + timeout
    var pause: UInt32 = 500
    while !condition() {
        if ContinuousClock.now > deadline { return false }
        usleep(pause)
        pause = min(pause * 2, 10_000)
    }
    return true
}

/// What every process of the tests finds in its environment.
private let plainEnvironment = [
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
]

/// Starts a process. A `path` of the terminal makes it the leader of a session that has this terminal.
func spawn(
    _ words: [String], _ environment: [String: String], descriptors: (CInt, CInt, CInt) = (-1, -1, -1),
    terminal: String? = nil
) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
        posix_spawn_file_actions_destroy(&actions)
        posix_spawnattr_destroy(&attributes)
    }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    var flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
    if let terminal {
        flags |= 0x80  // POSIX_SPAWN_SETSID, which needs _GNU_SOURCE
        for fd in 0...2 { posix_spawn_file_actions_addopen(&actions, CInt(fd), terminal, O_RDWR, 0) }
    } else {
        if descriptors.0 >= 0 {
            posix_spawn_file_actions_adddup2(&actions, descriptors.0, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        posix_spawn_file_actions_adddup2(&actions, descriptors.1, 1)
        posix_spawn_file_actions_adddup2(&actions, descriptors.2, 2)
    }
    posix_spawnattr_setflags(&attributes, Int16(flags))
    let variables = plainEnvironment.merging(environment) { $1 }.map { "\($0)=\($1)" }
    var pid: pid_t = 0
    let command = words.first ?? ""
    let result = withCStrings(words) { words in
        withCStrings(variables) { variables in
            posix_spawnp(&pid, command, &actions, &attributes, words, variables)
        }
    }
    guard result == 0 else { throw HarnessError("can't start \(words): \(String(cString: strerror(result)))") }
    return pid
}

private func withCStrings<Result>(
    _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
) -> Result {
    let pointers = strings.map { strdup($0) }
    defer { pointers.forEach { free($0) } }
    return body(pointers + [nil])
}
