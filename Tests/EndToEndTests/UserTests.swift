import Foundation
import Testing

/// The command as another user (`--user`), of a passwd and a group file of our own.
@Suite struct UserTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
        try lab.write(
            """
            root:x:0:0:root:/root:/bin/bash
            alice:x:4001:4002:Alice:/home/alice:/bin/zsh
            bare:x:4003:4003:::

            """, to: "passwd")
        try lab.write("root:x:0:\nalice:x:4002:\nvideo:x:44:bare,alice\nnet:x:4100:alice\n", to: "group")
    }

    /// Has the command that follows see our two files in the place of the machine's, nobody else.
    private var entry: [String] {
        let script = #"""
            mount --bind passwd /etc/passwd && mount --bind group /etc/group && exec "$@"
            """#
        return ["unshare", "-m", "sh", "-c", script, "sh"]
    }

    private let identity = [
        "sed", "-nE", "s/^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapAmb):[[:space:]]*//p", "/proc/self/status",
    ]

    /// A caller whose capabilities would outlive its change of user, in exec and before it.
    private static let privileges = [
        "setpriv", "--inh-caps=+net_raw", "--ambient-caps=+net_raw", "--securebits=+no_setuid_fixup",
    ]

    private func lines(_ completed: Completed) -> [[String]] {
        completed.stdout.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace).map(String.init) }
    }

    @Test(arguments: [
        ("alice", 4001, 4002, [44, 4002, 4100]), ("4001", 4001, 4002, [44, 4002, 4100]),
        ("bare", 4003, 4003, [44, 4003]),
        ("4005:4006", 4005, 4006, [4006]), ("4001:0", 4001, 0, [0]),
    ])
    func `command has the IDs and groups of the user and no capabilities`(
        _ user: String, _ uid: Int, _ gid: Int, _ groups: [Int]
    ) throws {
        for caller in [[], UserTests.privileges] {
            let completed = try lab.run(entry + caller + throttle("-d", "50k", "--user", user) + identity)
            #expect(completed.ending == .exited(0) && completed.stderr == "")
            let none = ["0000000000000000"]
            #expect(
                lines(completed) == [
                    Array(repeating: "\(uid)", count: 4), Array(repeating: "\(gid)", count: 4), groups.map { "\($0)" },
                    none, none, none, none,
                ])
        }
        #expect(lab.cgroup.runs == [])
    }

    @Test(arguments: [
        ("alice", "HOME=/home/alice SHELL=/bin/zsh USER=alice LOGNAME=alice"),
        ("bare", "HOME=/ SHELL=/bin/sh USER=bare LOGNAME=bare"),
        ("4001:4002", "HOME=/ SHELL=/bin/sh USER=4001 LOGNAME=4001"),
    ])
    func `environment is the callers but for what su sets`(_ user: String, _ settings: String) throws {
        let environment = [
            "env", "-i", "HOME=/root", "HOMES=/a", "USER=root", "PATH=/usr/bin:/bin", "LOGNAMES=", "Z=\u{fc}",
        ]
        let words = throttle("-d", "50k", "--user", user) + ["cat", "/proc/self/environ"]
        let completed = try lab.run(entry + environment + words)
        let expected =
            ["HOMES=/a", "PATH=/usr/bin:/bin", "LOGNAMES=", "Z=\u{fc}"]
            + settings.split(separator: " ").map(String.init)
        #expect(completed.stdout.split(separator: "\0").map(String.init) == expected)
    }

    @Test func `working directory stays and the status is relayed`() throws {
        let options = throttle("-d", "50k", "--user", "alice")
        let exited = try lab.run(entry + options + ["sh", "-c", "pwd; exit 7"])
        #expect(exited.ending == .exited(7) && exited.stdout == "\(lab.folder)\n")
        #expect(try lab.run(entry + options + ["sh", "-c", "kill -USR1 $$"]).ending == .killed(SIGUSR1))
        #expect(try lab.run(entry + options + ["/no/such/command"]).ending == .exited(127))
    }

    @Test func `signals reach the command of the other user`() throws {
        let child = try lab.start(
            entry + throttle("-d", "50k", "--user", "alice") + [
                "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done",
            ])
        try child.waitForOutput("ready")
        child.send(SIGTERM)
        #expect(try child.wait().ending == .exited(9))
        #expect(lab.cgroup.runs == [])
    }

    /// The search in PATH and the exec are the user's, not ours.
    @Test func `command that only root may run is not run`() throws {
        try lab.require(["install", "-d", "-m", "700", "private"])
        try lab.writeExecutable("#!/bin/sh\necho ran\n", to: "private/tool")
        let options = throttle("-d", "50k", "--user", "alice")
        let path = ["env", "PATH=\(lab.folder)/private:/usr/bin:/bin"]
        for words in [path + options + ["tool"], options + ["\(lab.folder)/private/tool"]] {
            let completed = try lab.run(entry + UserTests.privileges + words)
            #expect(completed.ending == .exited(126) && completed.stdout == "")
            #expect(completed.stderr.contains("Permission denied"))
        }
    }

    @Test func `limit holds for the other user`() throws {
        let network = try NetworkPair(lab)
        let server = try FileServer(in: network.far, lab, bytes: 400_000)
        let options = throttle("-d", "200k", "--user", "alice", "--mode", "shape", "--stats=json")
        let script = #"curl -sSgf "$0" | sha256sum"#
        let completed = try lab.run(
            network.near.entry + entry + options + ["sh", "-c", script, server.url(NetworkPair.farAddress)])
        #expect(completed.ending == .exited(0))
        #expect(try completed.stdout == lab.shell("sha256sum <served/file").stdout)
        #expect((0.85...1.15).contains(400_000 / completed.seconds / 200_000))
        let stats = try Stats(completed.stderr)
        #expect(stats.download.verdict == "throttled" && !stats.not_throttled)
    }

    @Test(arguments: [
        "nobody", "root\n", "-1", "+", "+0", "4294967295", "4294967295:0", "0:4294967295", "5000", "root:root",
    ])
    func `unknown user gives 125 and nothing is made`(_ user: String) throws {
        let words =
            throttle("-d", "50k", "--best-effort", "--stats-file", "report", "--user=\(user)") + ["touch", "ran"]
        let completed = try lab.watchingForCgroups { try lab.run(entry + words) }
        #expect(completed.value.ending == .exited(125) && completed.made == [])
        #expect(completed.value.stderr.split(separator: "\n").count == 1)
        #expect(completed.value.stderr.hasPrefix("throttle: no user \(String(reflecting: user)) in /etc/passwd"))
        for name in ["ran", "report"] { #expect(access("\(lab.folder)/\(name)", F_OK) != 0) }
    }

    private static let alice = ["setpriv", "--reuid=4001", "--regid=4002", "--clear-groups", "--inh-caps=-all", "--"]

    @Test(arguments: ["root", "0", "bare", "4001:0", "4003:4003"])
    func `ordinary user can't become another`(_ user: String) throws {
        let words = throttle("-d", "50k", "--best-effort", "--user", user) + ["touch", "ran"]
        let completed = try lab.watchingForCgroups { try lab.run(entry + UserTests.alice + words) }
        #expect(completed.value.ending == .exited(125) && completed.made == [])
        #expect(completed.value.stderr.contains("missing cap_setuid, cap_setgid, cap_kill; run as root"))
        #expect(completed.value.stderr.split(separator: "\n").count == 1)
    }

    @Test(arguments: ["alice", "4001", "4001:4002"])
    func `ordinary user may name themselves`(_ user: String) throws {
        let words = throttle("-d", "50k", "--best-effort", "--user", user) + identity
        let completed = try lab.run(entry + UserTests.alice + words)
        #expect(completed.ending == .exited(0))
        #expect(lines(completed).prefix(2) == [Array(repeating: "4001", count: 4), Array(repeating: "4002", count: 4)])
    }

    /// The kernel takes 65536 groups at most.
    @Test(arguments: [[], ["--best-effort"]])
    func `command is not run where the kernel refuses its user`(_ options: [String]) throws {
        try lab.write((0...65536).map { "g\($0):x:\($0 + 10000):alice\n" }.joined(), to: "group")
        let words = [throttlePath, "run", "-d", "50k", "--user", "alice"] + options + ["--", "touch", "ran"]
        let completed = try lab.run(entry + words)
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr == "throttle: can't become the user of --user: Invalid argument\n")
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(lab.cgroup.runs == [])
        #expect(poll { lab.cgroup.processes == [] })
    }
}
