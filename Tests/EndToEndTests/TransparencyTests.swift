import Foundation
import Testing

/// What the command finds around it is what it would find without the prefix.
@Suite struct TransparencyTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    /// A caller with something unusual of everything that a process inherits.
    private static let oddCaller = [
        "nice", "-n", "7", "prlimit", "--nofile=77:99", "--core=0:0", "--stack=1048576:", "--memlock=65536:131072",
        "ionice", "-c", "3", "taskset", "-c", "0", "env", "--ignore-signal=USR1", "--ignore-signal=PIPE",
        "--ignore-signal=40", "--block-signal=USR2", "--block-signal=TERM", "--block-signal=50", "ZED=1", "ALPHA=2",
        "EMPTY=", "MULTI=line\nbreak", "LD_LIBRARY_PATH=/opt/none", "GCONV_PATH=/opt/none", "TMPDIR=/var/tmp",
        "bash", "-c",  // dash would empty the mask
    ]

    /// Runs `command` twice below the same odd caller, bare and limited, and returns what it wrote each time.
    private func compare(_ command: [String], set: String = ":") throws -> (bare: String, limited: String) {
        let prefix = throttle("-d", "50k", "-u", "50k")
        try lab.write(
            "\(set); echo 333 >/proc/$$/oom_score_adj; umask 027; \"$@\" >bare; \(quoted(prefix)) \"$@\" >limited",
            to: "caller")
        let completed = try lab.run(TransparencyTests.oddCaller + [". ./caller", "sh"] + command)
        #expect(completed.ending == .exited(0))
        #expect(completed.stderr == "")
        return try (text("bare"), text("limited"))
    }

    private func quoted(_ words: [String]) -> String { words.map { "'\($0)'" }.joined(separator: " ") }

    private func text(_ name: String) throws -> String { try String(decoding: lab.content(name), as: UTF8.self) }

    @Test(
        arguments: [
            ["cat", "/proc/self/limits"], ["cat", "/proc/self/oom_score_adj"],
            ["cat", "/proc/self/cmdline"], ["cat", "/proc/self/comm"], ["cat", "/proc/self/coredump_filter"],
            ["cat", "/proc/self/personality"], ["cat", "/proc/self/timerslack_ns"], ["cat", "/proc/self/loginuid"],
            ["cat", "/proc/self/uid_map"], ["readlink", "/proc/self/cwd"], ["readlink", "/proc/self/root"],
            ["readlink", "/proc/self/exe"], ["sh", "-c", "umask"], ["nice"], ["ionice"], ["ls", "/proc/self/fd"],
            ["sh", "-c", "readlink /proc/self/ns/*"], ["sh", "-c", "ulimit -a"], ["id"],
        ])
    func `command sees the same`(_ command: [String]) throws {
        let (bare, limited) = try compare(command)
        #expect(bare != "" && bare == limited)
    }

    @Test func `environment is the same in the same order`() throws {
        // env, as bash gives each command a "_" of its own.
        let (bare, limited) = try compare(["env", "-u", "_", "cat", "/proc/self/environ"])
        #expect(bare == limited)
        let variables = limited.split(separator: "\0")
        for variable in ["ZED=1", "ALPHA=2", "EMPTY=", "MULTI=line\nbreak"] {
            #expect(variables.contains(Substring(variable)))
        }
    }

    @Test func `status file says the same`() throws {
        let (bare, limited) = try compare(["cat", "/proc/self/status"])
        let volatile = ["Pid", "Tgid", "NSpid", "NStgid", "PPid", "Vm", "Rss", "Hugetlb", "SigQ"]
        func lines(_ text: String) -> [Substring] {
            text.split(separator: "\n").filter { line in
                !volatile.contains { line.hasPrefix($0) } && !line.contains("ctxt_switches")
            }
        }
        #expect(lines(bare) == lines(limited))
        for key in ["SigBlk", "SigIgn", "SigCgt", "CapInh", "CapEff", "CapAmb", "NoNewPrivs", "Umask", "SigPnd"] {
            #expect(lines(bare).contains { $0.hasPrefix(key) }, "\(key)")
        }
        // The comparison would be empty if the caller weren't odd: USR1, PIPE and 40 ignored; USR2, TERM and 50 blocked.
        let ignored: UInt64 = 1 << 9 | 1 << 12 | 1 << 39
        let blocked: UInt64 = 1 << 11 | 1 << 14 | 1 << 49
        #expect(mask("SigIgn", limited) & ignored == ignored)
        #expect(mask("SigBlk", limited) & blocked == blocked)
    }

    private func mask(_ key: String, _ status: String) -> UInt64 {
        let line = status.split(separator: "\n").first { $0.hasPrefix("\(key):\t") }
        return line.flatMap { UInt64($0.dropFirst(key.count + 2), radix: 16) } ?? 0
    }

    @Test func `process group session and scheduling are the same`() throws {
        let (bare, limited) = try compare(["cat", "/proc/self/stat"])
        func fields(_ text: String) -> [String] {
            let fields = text.split(separator: ")").last?.split(separator: " ").map(String.init) ?? []
            // Group, session, terminal, its group; then priority and nice; real-time priority and policy.
            return [2, 3, 4, 5, 15, 16, 37, 38].map { fields[$0] }
        }
        #expect(fields(bare) == fields(limited))
        #expect(fields(limited)[5] == "7")
    }

    @Test func `descriptors of the caller reach the command and no others`() throws {
        let open = "exec 5</dev/null 7<>/dev/zero 9>>extra"
        let (bare, limited) = try compare(["find", "/proc/self/fd", "-printf", "%f %l\\n"], set: open)
        func links(_ text: String) -> [String] {
            // The output itself goes to two files, and find's own descriptors name its process.
            text.split(separator: "\n").map(String.init).filter { !$0.contains("/proc/") && !$0.hasPrefix("1 ") }
        }
        #expect(links(bare) == links(limited))
        #expect(links(limited).contains("7 /dev/zero"))
    }

    @Test(arguments: ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
    func `descriptors that the caller closed stay closed`(_ closing: String) throws {
        // No redirection while it looks: a shell puts the file into the lowest free descriptor.
        let script = "exec 9>fds; for fd in 0 1 2; do test -e /proc/$$/fd/$fd && echo $fd >&9; done; exit 4"
        let words = throttle("-d", "50k", "--debug") + ["sh", "-c", script]
        let completed = try lab.shell(#""$@" \#(closing)"#, words)
        #expect(completed.ending == .exited(4))
        let open = Set(try text("fds").split(separator: "\n").map(String.init))
        let closings = ["0": "<&-", "1": " >&-", "2": "2>&-"]
        #expect(open == Set(closings.filter { !" \(closing)".contains($0.value) }.keys))
        #expect(lab.cgroup.runs == [])
    }

    @Test func `bytes that are no UTF 8 pass unchanged`() throws {
        let script = #"""
            odd=$(printf 'a\377\376\300\200z'); long=$(head -c 100000 /dev/zero | tr '\0' x)
            ODD="$odd" "$@" printf '<%s>' "$odd" '' ' ' '--' '-v' "$long" '*' "$(printf 'q\033\n')e" >got
            printf '<%s>' "$odd" '' ' ' '--' '-v' "$long" '*' "$(printf 'q\033\n')e" | cmp - got || exit 1
            ODD="$odd" "$@" printenv ODD >got; ODD="$odd" printenv ODD | cmp - got || exit 2
            mkdir "$odd" && cd "$odd" && "$@" pwd >got && pwd | cmp - got || exit 3
            printf '#!/bin/sh\nexit 9\n' >"$odd"; chmod +x "$odd"; "$@" "./$odd"
            """#
        let completed = try lab.shell(script, throttle("-d", "50k"))
        #expect(completed.ending == .exited(9))
        #expect(completed.stdout == "" && completed.stderr == "")
    }

    @Test func `options of the command are its own`() throws {
        for separator in [[], ["--"]] {
            let words = [throttlePath, "-d", "50k"] + separator + ["echo", "--down", "1k", "-v", "--", "--help", "-h"]
            #expect(try lab.run(words).stdout == "--down 1k -v -- --help -h\n")
        }
        #expect(try lab.run([throttlePath, "-d50k", "--", "echo", "--stats"]).stdout == "--stats\n")
    }

    @Test func `input and output pass through`() throws {
        let script = #"head -c 3000000 /dev/urandom >in; "$@" cat <in | cmp - in && "$@" cat >out <in && cmp in out"#
        let completed = try lab.shell(script, throttle("-d", "50k"))
        #expect(completed.ending == .exited(0) && completed.stderr == "")
    }

    @Test func `command is found by the path of the environment`() throws {
        try lab.writeExecutable("#!/bin/sh\necho found \"$0\"\n", to: "my-own-command")
        let environment = ["PATH": "/missing:\(lab.folder):/usr/bin:/bin"]
        let completed = try lab.run(throttle("-d", "50k") + ["my-own-command"], environment: environment)
        #expect(completed.stdout == "found \(lab.folder)/my-own-command\n")
    }
}
