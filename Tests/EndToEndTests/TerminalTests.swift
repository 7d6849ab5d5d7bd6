import Foundation
import Testing

/// Keys of a terminal and job control, in an interactive shell. Commands that are stopped say "ready" behind their
/// last fork: dash can't be stopped while it waits for vfork(2), with or without a limit.
@Suite struct TerminalTests {
    let lab: Lab
    let terminal: Terminal
    private let limited = throttle("-d", "50k").joined(separator: " ")

    init() throws {
        lab = try Lab()
        terminal = try Terminal.shell(lab)
    }

    /// Types a line whose command writes "ready" once it runs.
    private func start(_ command: String) throws {
        try terminal.type(command, until: "ready")
    }

    private func probe(_ signals: CInt...) throws -> String {
        try Fixtures.probe.get() + " " + (signals + [SIGTERM]).map(String.init).joined(separator: " ")
    }

    /// What a probe reported, when it has been ended from outside.
    private func endProbe() throws -> [String] {
        let pid = try #require(terminal.text.firstMatch(of: /ready ([0-9]+)/)?.1)
        kill(try #require(pid_t(pid)), SIGTERM)
        try terminal.wait(for: "signal \(SIGTERM)")
        #expect(try terminal.status() == "0")
        return terminal.text.split(separator: "\n").filter { $0.hasPrefix("signal ") }.map(String.init)
    }

    @Test func `control-C ends the command and the shell sees the interrupt`() throws {
        let loop = "for i in 1 2 3; do \(limited) sh -c 'echo ready; exec sleep 60'; echo went-on; done"
        try start(loop)
        terminal.press(Terminal.controlC)
        #expect(try terminal.status() == "130")
        #expect(!terminal.text.contains("went-on"))
        #expect(lab.cgroup.runs == [])
    }

    @Test func `control backslash quits the command`() throws {
        try start("\(limited) sh -c 'echo ready; exec sleep 60'")
        terminal.press(Terminal.controlBackslash)
        #expect(try terminal.status() == "131")
        #expect(lab.cgroup.runs == [])
    }

    @Test(arguments: [(Terminal.controlC, SIGINT), (Terminal.controlBackslash, SIGQUIT), (Terminal.controlZ, SIGTSTP)])
    func `key sends its signal once to a command that handles it`(_ key: String, _ signal: CInt) throws {
        try start("\(limited) \(probe(signal))")
        terminal.press(key)
        try terminal.wait(for: "signal \(signal)\n")
        #expect(try endProbe() == ["signal \(signal)", "signal \(SIGTERM)"])
    }

    @Test func `new window size is signalled once`() throws {
        try start("\(limited) \(probe(SIGWINCH))")
        terminal.resize(rows: 33, columns: 77)
        try terminal.wait(for: "signal \(SIGWINCH)\n")
        #expect(try endProbe() == ["signal \(SIGWINCH)", "signal \(SIGTERM)"])
    }

    @Test func `control-Z stops the job and fg continues it`() throws {
        try start("\(limited) sh -c '(echo ready; exec sleep 0.5); echo done-$((40 + 2)); exit 5'")
        terminal.press(Terminal.controlZ)
        #expect(try terminal.status() == "148")
        try terminal.type("jobs", until: "Stopped")
        #expect(!terminal.text.contains("done-42"))
        try terminal.type("fg", until: "done-42")
        #expect(try terminal.status() == "5")
        try terminal.type("jobs; echo no-more-$((40 + 2))", until: "no-more-42")
        #expect(lab.cgroup.runs == [])
    }

    /// Ctrl-S, while the live line or the report is to be written.
    @Test(arguments: [SIGINT, SIGTERM], ["--progress", "--stats"])
    func `run on a stopped terminal can be ended`(_ signal: CInt, _ option: String) throws {
        let command = option == "--stats" ? "exec sleep 0.5" : "exec sleep 60"
        let terminal = try Terminal(
            lab, ["env", "TERM=xterm"] + throttle("-d", "50k", option) + ["sh", "-c", "echo ready; \(command)"])
        terminal.resize(rows: 24, columns: 80)
        try terminal.wait(for: "ready")
        terminal.press("\u{13}")
        // It is at that by now.
        usleep(1_500_000)
        #expect(waitpid(terminal.leader, nil, WNOHANG) == 0)
        kill(terminal.leader, signal)
        #expect(try terminal.ending() == (option == "--stats" ? .exited(0) : .killed(signal)))
        #expect(lab.cgroup.runs == [])
    }

    @Test func `stopped job can be continued in the background`() throws {
        try start("\(limited) sh -c '(echo ready; exec sleep 0.5); echo done-$((40 + 2)); exit 5'")
        terminal.press(Terminal.controlZ)
        #expect(try terminal.status() == "148")
        try terminal.type("bg", until: "done-42")
        try terminal.type("wait %1; echo \"waited<$?>\"", until: "waited<5>")
        #expect(lab.cgroup.runs == [])
    }

    @Test func `stopped job can be ended`() throws {
        try start("\(limited) sh -c 'echo ready; exec sleep 60'")
        terminal.press(Terminal.controlZ)
        #expect(try terminal.status() == "148")
        // As bash's own kill does it, behind which bash 5.2 sometimes never looks at the job again.
        let group = try #require(lab.cgroup.runs.first.flatMap { pid_t($0.dropFirst("throttle-".count)) })
        kill(-group, SIGTERM)
        kill(-group, SIGCONT)
        #expect(poll { lab.cgroup.runs == [] })
    }

    @Test func `job can be stopped again and again`() throws {
        try start("\(limited) sh -c 'echo ready; exec sleep 60'")
        for _ in 1...5 {
            terminal.press(Terminal.controlZ)
            #expect(try terminal.status() == "148")
            try terminal.type("fg", until: "sleep 60")
            // The job must be the foreground's again before the next key.
            #expect(poll { !lab.cgroup.runs.isEmpty && runIsAwake() })
        }
        terminal.press(Terminal.controlC)
        #expect(try terminal.status() == "130")
        #expect(lab.cgroup.runs == [])
    }

    /// Whether no process of the run is stopped.
    private func runIsAwake() -> Bool {
        let processes = lab.cgroup.runs.flatMap { TestCgroup.processes(of: "\(lab.cgroup.path)/\($0)/run") }
        return !processes.isEmpty && processes.allSatisfy { state(of: $0) == "S" }
    }

    @Test func `interrupt that the caller ignores stays ignored`() throws {
        try start("(trap '' INT; \(limited) sh -c 'echo ready; sleep 0.5; exit 5')")
        terminal.press(Terminal.controlC)
        #expect(try terminal.status() == "5")
    }

    @Test func `command reads and writes the terminal`() throws {
        try start("\(limited) sh -c 'test -t 0 && test -t 1 && test -t 2 && echo ready; read x; echo \"<$x>\"'")
        try terminal.type("typed", until: "<typed>")
        #expect(try terminal.status() == "0")
    }

    @Test func `background command that reads the terminal stops`() throws {
        try start("\(limited) sh -c 'echo ready; read x; echo \"<$x>\"' &")
        #expect(
            poll {
                terminal.type("jobs")
                return terminal.text.contains("Stopped")
            })
        terminal.type("fg")
        #expect(poll { runIsAwake() })
        try terminal.type("typed", until: "<typed>")
        #expect(try terminal.status() == "0")
    }

    @Test func `closed terminal ends the run`() throws {
        try start("\(limited) sh -c 'echo ready; exec sleep 60'")
        terminal.hangUp()
        _ = try terminal.ending()
        #expect(poll { lab.cgroup.runs == [] && lab.cgroup.processes == [] })
    }

    @Test func `closed terminal hangs up a command without a shell`() throws {
        let script = "trap 'echo hup >>hups; exit 3' HUP; echo ready; sleep 60 & wait"
        let alone = try Terminal(lab, throttle("-d", "50k") + ["sh", "-c", script])
        try alone.wait(for: "ready")
        alone.hangUp()
        #expect(try alone.ending() == .exited(3))
        #expect(try String(decoding: lab.content("hups"), as: UTF8.self) == "hup\n")
    }

    @Test func `keys reach a command without a shell once`() throws {
        let probe = try [Fixtures.probe.get(), "\(SIGINT)", "\(SIGTERM)"]
        let alone = try Terminal(lab, throttle("-d", "50k") + probe)
        try alone.wait(for: "ready")
        alone.press(Terminal.controlC)
        try alone.wait(for: "signal \(SIGINT)\n")
        kill(alone.leader, SIGTERM)
        try alone.wait(for: "signal \(SIGTERM)\n")
        #expect(try alone.ending() == .exited(0))
        #expect(alone.text.split(separator: "\n").count { $0 == "signal \(SIGINT)" } == 1)
    }
}
