import Foundation
import Synchronization

/// A place for one test: a cgroup that its commands start in, another one for its servers, and a folder that is
/// their working directory. Its end kills and removes all of it.
final class Lab {
    /// Where commands start; runs of throttle make their cgroups below.
    let cgroup: TestCgroup
    let helpers: TestCgroup
    let folder: String
    private let top: TestCgroup

    init() throws {
        guard getuid() == 0 else { throw HarnessError("these tests need root: they limit real traffic") }
        guard access(throttlePath, X_OK) == 0 else {
            throw HarnessError("\(throttlePath) is missing: run 'make build' first")
        }
        let name = "e2e-\(getpid())-\(Lab.nextNumber())"
        top = try TestCgroup(name, in: TestCgroup.ofThisProcess())
        cgroup = try TestCgroup("commands", in: top.path)
        helpers = try TestCgroup("helpers", in: top.path)
        folder = "/tmp/\(name)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        chmod(folder, 0o755)
    }

    deinit {
        // Nothing may write into the folder while it goes.
        top.killAll()
        _ = poll(timeout: .seconds(10)) { (try? FileManager.default.removeItem(atPath: folder)) != nil }
    }

    /// Starts a command. It dumps no core.
    func start(
        _ words: [String], in cgroup: TestCgroup? = nil, environment: [String: String] = [:],
        input: Child.Input = .null
    ) throws -> Child {
        try Child(entering(cgroup ?? self.cgroup) + words, environment: environment, input: input)
    }

    /// Runs a command to its end.
    func run(
        _ words: [String], environment: [String: String] = [:], timeout: Duration = .seconds(60)
    ) throws -> Completed {
        try start(words, environment: environment).wait(timeout: timeout)
    }

    /// Runs a shell script to its end; its `$1`, `$2`, … are the words.
    func shell(_ script: String, _ words: [String] = [], timeout: Duration = .seconds(60)) throws -> Completed {
        try run(["sh", "-c", script, "sh"] + words, timeout: timeout)
    }

    /// Runs a command that the test rests on, and returns what it wrote.
    @discardableResult
    func require(_ words: [String]) throws -> String {
        let completed = try run(words)
        guard completed.ending == .exited(0) else {
            throw HarnessError("\(words.joined(separator: " ")): \(completed.ending): \(completed.stderr)")
        }
        return completed.stdout
    }

    /// Words that move a process into `cgroup`, our folder and a network namespace of its own, before the command that
    /// follows: a run shapes what it finds, and the machine's own devices are no test's business.
    func entering(_ cgroup: TestCgroup) -> [String] {
        let script = #"""
            echo 0 >"$1/cgroup.procs" && cd "$2" && ulimit -S -c 0 && shift 2 && exec unshare -n "$@"
            """#
        return ["/bin/sh", "-c", script, "sh", cgroup.path, folder]
    }

    /// The content of a file in our folder.
    func content(_ name: String) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"))
    }

    func write(_ text: String, to name: String) throws {
        try text.write(toFile: "\(folder)/\(name)", atomically: false, encoding: .utf8)
    }

    /// A process of its own writes it: while a test beside us starts a process, that one has our descriptors, and
    /// a file that is open for writing can't be executed.
    func writeExecutable(_ text: String, to name: String) throws {
        try require(["sh", "-c", #"printf %s "$1" >"$2" && chmod 755 "$2""#, "sh", text, name])
    }

    private static let number = Mutex(0)

    static func nextNumber() -> Int {
        number.withLock {
            $0 += 1
            return $0
        }
    }
}

let packageRoot = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path

/// The binary under test.
let throttlePath = "\(packageRoot)/.build/release/throttle"

/// Words that clean up as if the caller's cgroup were all there is: other tests have dead runs, too.
func cleaningUp(_ options: String...) -> [String] {
    let script = #"mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup && exec "$@""#
    return ["unshare", "-mC", "sh", "-ec", script, "sh", throttlePath, "cleanup"] + options
}

/// A command that sends a datagram over loopback, which tells the run's guard of that device, and then does as the script says.
func sendingFirst(_ script: String) -> [String] {
    ["bash", "-c", "echo >/dev/udp/127.0.0.1/9; " + script]
}

/// The words that limit the command which follows.
func throttle(_ options: String...) -> [String] { throttle(options) }

func throttle(_ options: [String]) -> [String] { [throttlePath, "run"] + options + ["--"] }
