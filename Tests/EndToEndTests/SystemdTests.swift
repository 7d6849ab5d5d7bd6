import Foundation
import Testing

/// `--systemd`, up to systemd: a script stands in for systemd-run(1), as no systemd runs where the tests do. It notes
/// its arguments and does what systemd-run does in the end: execute what follows them.
@Suite struct SystemdTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
        try lab.require(["install", "-d", "-m", "777", "bin", "notes"])
        try lab.writeExecutable(
            #"""
            #!/bin/sh
            folder=${0%/bin/*}/notes
            printf '%s\n' "$@" >"$folder/arguments"
            grep CapPrm /proc/self/status >"$folder/capabilities"
            while [ "$1" != -- ]; do shift; done
            shift
            exec "$@"

            """#, to: "bin/systemd-run")
    }

    private var path: [String] { ["env", "PATH=\(lab.folder)/bin:/usr/sbin:/usr/bin:/sbin:/bin"] }

    private func arguments() throws -> [String] {
        try String(decoding: lab.content("notes/arguments"), as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false
        ).dropLast().map(String.init)
    }

    private let scope = [
        "--scope", "--quiet", "-p", "Delegate=yes", "--",
        URL(fileURLWithPath: throttlePath).resolvingSymlinksInPath().path, "run",
    ]

    @Test func `root asks for a scope and keeps its process`() throws {
        let words = throttle("-d", "50k", "--systemd", "--stats=json", "--name", "a") + ["sh", "-c", "exit 3"]
        let child = try lab.start(path + words)
        let completed = try child.wait()
        #expect(completed.ending == .exited(3))
        #expect(try arguments() == scope + ["-d", "50k", "--stats=json", "--name", "a", "--", "sh", "-c", "exit 3"])
        #expect(try Stats(completed.stderr).id == "\(child.pid)")
        #expect(lab.cgroup.runs == [])
    }

    @Test(arguments: [
        ["-d", "50k", "--systemd", "echo", "--systemd", "--", "run"],
        ["run", "--systemd", "--systemd", "-d", "50k", "--", "echo", "--systemd", "--", "run"],
        ["--systemd", "-d", "50k", "echo", "--systemd", "--", "run"],
    ])
    func `words of the command stay`(_ words: [String]) throws {
        let completed = try lab.run(path + [throttlePath] + words)
        #expect(completed.ending == .exited(0) && completed.stdout == "--systemd -- run\n")
        #expect(try arguments() == scope + ["-d", "50k", "--", "echo", "--systemd", "--", "run"])
    }

    @Test func `command of the name run is no subcommand`() throws {
        try lab.writeExecutable("#!/bin/sh\necho \"ran $*\"\n", to: "bin/run")
        let completed = try lab.run(path + [throttlePath, "--systemd", "-d", "50k", "run", "--stats", ""])
        #expect(completed.ending == .exited(0) && completed.stdout == "ran --stats \n" && completed.stderr == "")
        #expect(try arguments().suffix(4) == ["--", "run", "--stats", ""])
    }

    /// Our capabilities end there, and ours again is what the file gives.
    @Test func `ordinary user asks their own manager without our capabilities and with their environment`() throws {
        try lab.require(["chown", "65534", lab.cgroup.path, "\(lab.cgroup.path)/cgroup.procs"])
        let binary = "\(lab.folder)/throttle"
        try lab.require(["install", "-m", "755", throttlePath, binary])
        try lab.require(["setcap", "cap_bpf,cap_net_admin,cap_perfmon+ep", binary])
        let command = ["sh", "-c", "echo $GCONV_PATH; exit 4"]
        let completed = try lab.run(
            path + ["GCONV_PATH=/x"] + Lab.nobody + [binary, "-d", "50k", "--systemd", "--stats=json", "--"] + command)
        #expect(completed.ending == .exited(4) && completed.stdout == "/x\n")
        #expect(try arguments().prefix(8) == ["--user"] + scope.prefix(5) + [binary, "run"])
        #expect(try String(decoding: lab.content("notes/capabilities"), as: UTF8.self) == "CapPrm:\t0000000000000000\n")
        #expect(try Stats(completed.stderr).download.verdict == "below_limit")
        #expect(lab.cgroup.runs == [])
    }

    @Test func `without systemd run the error says what to do`() throws {
        for options in [[], ["--best-effort"]] {
            let words = [throttlePath, "-d", "50k", "--systemd"] + options + ["--", "/usr/bin/touch", "ran"]
            let completed = try lab.watchingForCgroups { try lab.run(["env", "PATH=/no/where"] + words) }
            #expect(completed.value.ending == .exited(125) && completed.made == [])
            #expect(
                completed.value.stderr.hasPrefix("throttle: can't execute systemd-run: No such file or directory; "))
            #expect(completed.value.stderr.split(separator: "\n").count == 1)
            #expect(access("\(lab.folder)/ran", F_OK) != 0)
        }
    }

    @Test(arguments: [["--systemd"], ["--systemd", "-d", "0"], ["--systemd", "-d", "50k", "--user", "no such"]])
    func `what is wrong is told before a scope is made`(_ options: [String]) throws {
        let completed = try lab.run(path + [throttlePath] + options + ["--", "true"])
        #expect(completed.ending == .exited(125))
        #expect(access("\(lab.folder)/notes/arguments", F_OK) != 0)
    }

    /// Where systemd runs, by sd_booted(3).
    @Test(arguments: [true, false])
    func `error for a foreign cgroup names the option where it helps`(_ isBooted: Bool) throws {
        let binary = "\(lab.folder)/throttle"
        try lab.require(["install", "-m", "755", throttlePath, binary])
        try lab.require(["setcap", "cap_bpf,cap_net_admin,cap_perfmon+ep", binary])
        let script = #"mount -t tmpfs none /run && mkdir -p "/run/$0" && exec "$@""#
        let completed = try lab.run(
            ["unshare", "-m", "sh", "-c", script, isBooted ? "systemd/system" : "systemd"] + Lab.nobody
                + [binary, "-d", "50k", "--", "true"])
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr.contains("throttle run --systemd …") == isBooted)
        #expect(completed.stderr.contains("systemd-run --user --scope -p Delegate=yes throttle …"))
    }

    /// Nor does a delegated cgroup help where processes are in another one.
    @Test(arguments: [true, false])
    func `error for a target's cgroup names no option that it refuses`(isWhole: Bool) throws {
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let cgroup = try TestCgroup("target", in: lab.cgroup.path)
        let target = try lab.start(["sleep", "60"], in: cgroup)
        // Its own place is what's missing then.
        if isWhole { try lab.require(["chown", "65534", "\(cgroup.path)/cgroup.procs"]) }
        let script = #"mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$@""#
        let words = isWhole ? ["--cgroup", cgroup.path] : ["-p", "\(target.pid)"]
        let completed = try lab.run(
            ["unshare", "-m", "sh", "-c", script, "sh"] + Lab.nobody + [binary, "-d", "50k"] + words)
        #expect(completed.ending == .exited(125) && completed.stderr.contains("Permission denied; run as root"))
        #expect(!completed.stderr.contains("--systemd") && completed.stderr.contains("Delegate=yes") == isWhole)
    }
}
