import Foundation
import Testing

/// Signals that are sent to the wrapper alone.
@Suite struct SignalTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    /// All that a process can catch, but for job control's own: SIGCHLD is about children, and SIGCONT continues.
    private static let catchable: [CInt] = (1...64).filter {
        ![SIGKILL, SIGSTOP, SIGCHLD, SIGCONT, 32, 33].contains($0)  // 32 and 33 are glibc's own
    }

    @Test func `every signal reaches a command with handlers exactly once`() throws {
        let signals = SignalTests.catchable
        let probe = try [Fixtures.probe.get()] + signals.map(String.init)
        let child = try lab.start(throttle("-d", "50k") + probe)
        try child.waitForOutput("ready ")
        let order = signals.filter { $0 != SIGTERM } + [SIGTERM]
        for signal in order {
            child.send(signal)
            try child.waitForOutput("signal \(signal)\n")
        }
        let completed = try child.wait()
        #expect(completed.ending == .exited(0))
        let received = completed.stdout.split(separator: "\n").dropFirst().map(String.init)
        #expect(received == order.map { "signal \($0)" })
        #expect(lab.cgroup.runs == [])
    }

    @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE, SIGIO, SIGPROF, 35, 64])
    func `signal without a handler ends command and wrapper alike`(_ signal: CInt) throws {
        let child = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; exec sleep 60"])
        try child.waitForOutput("ready")
        child.send(signal)
        let completed = try child.wait()
        #expect(completed.ending == .killed(signal))
        #expect(completed.stderr == "")
        #expect(lab.cgroup.runs == [])
    }

    /// The first runs are hit while they start, others while they set up, most while the command runs.
    @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGALRM, 35])
    func `signal at any moment ends the run by it`(_ signal: CInt) throws {
        let seed = UInt64.random(in: 1...UInt64.max)
        let storm = try [Fixtures.storm.get(), "80", "30000", "\(seed)", "\(signal)"]
        let completed = try lab.run(storm + throttle("-d", "50k") + ["sleep", "5"])
        let lines = completed.stdout.split(separator: "\n")
        #expect(lines.count == 80)
        #expect(lines.filter { !$0.hasSuffix(" killed \(signal)") } == [], "seed \(seed)")
        #expect(completed.stderr == "")
        #expect(lab.cgroup.runs == [])
        // Guards end a moment after their runs.
        #expect(poll { lab.cgroup.processes == [] })
    }

    @Test func `signal before the command has started reaches its handlers or ends it`() throws {
        // Ignored by the caller, so it may end neither the wrapper nor the command, whenever it comes.
        let storm = try [Fixtures.storm.get(), "60", "15000", "7", "\(SIGUSR1)"]
        let ignoring = ["env", "--ignore-signal=USR1"]
        let completed = try lab.run(ignoring + storm + throttle("-d", "50k") + ["sh", "-c", "exit 3"])
        let lines = completed.stdout.split(separator: "\n")
        #expect(lines.count == 60)
        #expect(lines.filter { !$0.hasSuffix(" exited 3") } == [])
    }

    /// Its SIGCHLD comes before anything waits for it: strace(1) holds the wrapper as it has started the command.
    @Test func `command that is killed before its exec is not waited for`() throws {
        let holding = ["-e", "trace=clone3", "-e", "inject=clone3:delay_exit=1000000"]
        let run = try lab.start(
            ["strace", "-D", "-qq", "-o", "/dev/null"] + holding + throttle("-d", "50k") + ["true"])
        var command: pid_t?
        #expect(
            poll {
                command = lab.cgroup.runs.first.flatMap {
                    TestCgroup.processes(of: "\(lab.cgroup.path)/\($0)/run").first
                }
                return command != nil
            })
        kill(try #require(command), SIGKILL)
        #expect(try run.wait(timeout: .seconds(10)).ending == .killed(SIGKILL))
        #expect(poll { lab.cgroup.children == [] })
    }

    @Test func `signals that the caller ignores stay ignored`() throws {
        let ignoring = ["env", "--ignore-signal=INT", "--ignore-signal=HUP", "--ignore-signal=TERM"]
        let child = try lab.start(ignoring + throttle("-d", "50k") + ["sh", "-c", "echo ready; exec sleep 0.5"])
        try child.waitForOutput("ready")
        for signal in [SIGINT, SIGHUP, SIGTERM] { child.send(signal) }
        #expect(try child.wait().ending == .exited(0))
    }

    @Test func `ignored SIGCHLD works and is still ignored in the command`() throws {
        let ignoring = ["env", "--ignore-signal=CHLD"]
        let completed = try lab.run(ignoring + throttle("-d", "50k") + ["grep", "SigIgn", "/proc/self/status"])
        #expect(completed.ending == .exited(0))
        let field = completed.stdout.split(separator: "\n").first?.split(separator: "\t").last
        let mask = try #require(field.flatMap { UInt64($0, radix: 16) })
        #expect(mask & 1 << (UInt64(SIGCHLD) - 1) != 0)
        let failed = try lab.run(ignoring + throttle("-d", "50k") + ["sh", "-c", "exit 6"])
        #expect(failed.ending == .exited(6) && failed.stderr == "")
    }

    @Test func `stopped command stops the wrapper and continues with it`() throws {
        let child = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; sleep 0.3; exit 4"])
        try child.waitForOutput("ready")
        child.send(SIGTSTP)
        #expect(poll { state(of: child.pid) == "T" })
        child.send(SIGCONT)
        #expect(try child.wait().ending == .exited(4))
    }

    @Test func `timeout works in front and behind`() throws {
        let front = try lab.run(["timeout", "0.3"] + throttle("-d", "50k") + ["sleep", "60"])
        #expect(front.ending == .exited(124))
        let behind = try lab.run(throttle("-d", "50k") + ["timeout", "0.3", "sleep", "60"])
        #expect(behind.ending == .exited(124))
        #expect(lab.cgroup.runs == [])
    }
}

/// The letter that /proc gives for the state of a process.
func state(of pid: pid_t) -> String? {
    let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
    return stat?.split(separator: ")").last?.split(separator: " ").first.map(String.init)
}
