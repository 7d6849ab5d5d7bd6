import Foundation
import Testing

/// `--group`, `throttle group` and `throttle set --group`.
@Suite struct GroupTests {
    let lab: Lab
    let network: NetworkPair
    /// Of this test alone.
    let group = "group-\(getpid())-\(Lab.nextNumber())"

    init() throws {
        lab = try Lab()
        network = try NetworkPair(lab)
    }

    private func stats(_ child: Child) throws -> Stats {
        try Stats(lab.require([throttlePath, "stats", "\(child.pid)", "--json"]))
    }

    /// Starts runs of the group that download, and waits until all do. The first has the options.
    private func downloads(_ count: Int, _ server: FileServer, _ first: [String], _ all: [String] = []) throws
        -> [Child]
    {
        try (0..<count).map { number in
            let options = ["-g", group] + (number == 0 ? first : []) + all + ["--stats=json"]
            let words = [throttlePath, "run"] + options + ["--", "curl", "-sSf", "-o", "/dev/null"]
            let child = try lab.start(network.near.entry + words + [server.url(NetworkPair.farAddress)])
            #expect(poll { ((try? stats(child))?.download.passed_payload_bytes ?? 0) > 0 })
            return child
        }
    }

    /// Bytes a second that each run downloads from now on.
    private func rates(_ children: [Child], seconds: Double = 2.5) throws -> [Double] {
        let before = try children.map { try stats($0) }
        usleep(UInt32(seconds * 1e6))
        return try zip(children, before).map { child, before in
            let after = try stats(child)
            let bytes = after.download.passed_payload_bytes - before.download.passed_payload_bytes
            return Double(bytes) / (after.elapsed_seconds - before.elapsed_seconds)
        }
    }

    private func end(_ children: [Child]) throws {
        for child in children { child.send(SIGTERM) }
        for child in children { #expect(try child.wait().ending == .killed(SIGTERM)) }
    }

    private func groups() throws -> String { try lab.require([throttlePath, "group", "list", "--json"]) }

    @Test(arguments: ["auto", "police"])
    func `runs share one budget equally`(_ mode: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 50_000_000)
        let runs = try downloads(3, server, ["-d", "900k"], ["--mode", mode])
        usleep(500_000)
        let rates = try rates(runs)
        #expect(0.85...1.1 ~= rates.reduce(0, +) / 900_000, "\(rates)")
        #expect(rates.allSatisfy { 0.75...1.25 ~= $0 / 300_000 }, "\(rates)")
        #expect(try groups().contains(#""name":"\#(group)","runs":3,"stays":false"#))
        #expect(try lab.require([throttlePath, "list"]).contains(group))
        try end(runs)
        #expect(poll { (try? groups().contains(group)) == false })
    }

    @Test func `lone run has all of it and others what it leaves`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 50_000_000)
        let first = try downloads(1, server, ["-d", "900k"])
        usleep(300_000)
        #expect(try 0.9...1.1 ~= rates(first)[0] / 900_000)
        // Its own limit holds in the group, too; what it doesn't use is the other's.
        let second = try downloads(1, server, ["-d", "200k"])
        usleep(500_000)
        let rates = try rates(first + second)
        #expect(0.85...1.15 ~= rates[1] / 200_000 && 0.85...1.1 ~= rates[0] / 700_000, "\(rates)")
        let report = try stats(second[0])
        #expect(report.download.limit_bytes_per_second == 200_000 && report.group?.name == group)
        #expect(report.group?.runs == 2 && report.group?.download_limit_bytes_per_second == 900_000)
        try end(second)
        usleep(300_000)
        #expect(try 0.9...1.1 ~= self.rates(first)[0] / 900_000)
        try end(first)
    }

    @Test func `set changes the budget of all`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 50_000_000)
        let runs = try downloads(2, server, ["-d", "400k"])
        for limit in [1_600_000, 200_000] {
            let said = try lab.require([throttlePath, "set", "--group", group, "-d", "\(limit)"])
            #expect(said.hasPrefix("group \(group): down "))
            usleep(500_000)
            let rates = try rates(runs)
            #expect(0.85...1.15 ~= rates.reduce(0, +) / Double(limit), "\(rates)")
        }
        #expect(try lab.run([throttlePath, "set", "-g", group, "-d", "x"]).ending == .exited(125))
        try end(runs)
        let gone = try lab.run([throttlePath, "set", "-g", group, "-d", "1M"])
        #expect(gone.ending == .exited(125) && gone.stderr.contains("there is no group '\(group)'"))
    }

    @Test func `uploads share a budget across network namespaces`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 50_000_000)
        let other = try Lab()
        let otherNetwork = try NetworkPair(other)
        let otherServer = try FileServer(in: otherNetwork.far, other, bytes: 1000)
        let places = [(lab, network, server), (other, otherNetwork, otherServer)]
        let runs = try places.map { lab, network, server in
            let url = server.url(NetworkPair.farAddress, "uploaded/x")
            let words = [throttlePath, "run", "-g", group, "-u", "800k", "--", "curl", "-sSf", "-T", "/dev/zero", url]
            let child = try lab.start(network.near.entry + words)
            #expect(poll { ((try? stats(child))?.upload.passed_payload_bytes ?? 0) > 0 })
            return child
        }
        usleep(500_000)
        let before = try runs.map { try stats($0).upload.passed_payload_bytes }
        usleep(3_000_000)
        let rates = try zip(runs, before).map { Double(try stats($0).upload.passed_payload_bytes - $1) / 3 }
        #expect(0.8...1.2 ~= rates.reduce(0, +) / 800_000 && rates.allSatisfy { 0.7...1.3 ~= $0 / 400_000 }, "\(rates)")
        try end(runs)
    }

    @Test func `group survives the death of any member`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 50_000_000)
        let runs = try downloads(3, server, ["-d", "600k"])
        // Wrapper, guard and command at once; the group's memory was made by this one.
        let victims = [runs[0].pid] + children(of: runs[0]) + TestCgroup.processes(of: runs[0].cgroup(in: lab))
        for pid in victims { kill(pid, SIGKILL) }
        #expect(victims.count >= 3)
        _ = try runs[0].wait()
        usleep(2_500_000)
        let rates = try rates(Array(runs.dropFirst()))
        #expect(0.8...1.1 ~= rates.reduce(0, +) / 600_000, "\(rates)")
        let late = try downloads(1, server, [])
        usleep(500_000)
        let all = try self.rates(runs.dropFirst() + late)
        #expect(0.8...1.15 ~= all.reduce(0, +) / 600_000 && all.allSatisfy { 0.7...1.3 ~= $0 / 200_000 }, "\(all)")
        try end(runs.dropFirst() + late)
    }

    /// The guard of a run, and its command.
    private func children(of child: Child) -> [pid_t] {
        lab.cgroup.processes.filter { pid in
            let status = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
            return status.split(separator: " ").dropFirst(3).first == "\(child.pid)"
        }
    }

    @Test func `created group stays until it is deleted`() throws {
        #expect(try lab.run([throttlePath, "group", "create", group, "-d", "1M", "-u", "500k"]).ending == .exited(0))
        defer { _ = try? lab.run([throttlePath, "group", "delete", group]) }
        let again = try lab.run([throttlePath, "group", "create", group, "-d", "2M"])
        #expect(
            again.ending == .exited(125) && again.stderr.contains("there is a group '\(group)' already: down 1.0 MB/s"))
        #expect(try groups().contains(#""name":"\#(group)","runs":0,"stays":true"#))
        for _ in 0..<2 {
            let run = try lab.run([throttlePath, "run", "-g", group, "--stats=json", "--", "true"])
            #expect(try Stats(run.stderr).group?.upload_limit_bytes_per_second == 500_000)
        }
        try lab.require([throttlePath, "set", "--group", group, "--up", "unlimited"])
        let run = try lab.run(
            [throttlePath, "run", "--stats=json", "--", "true"], environment: ["THROTTLE_GROUP": group])
        let report = try Stats(run.stderr)
        #expect(report.download.limit_bytes_per_second == 1_000_000 && report.upload.limit_bytes_per_second == nil)
        try lab.require([throttlePath, "group", "delete", group])
        #expect(try !groups().contains(group))
        #expect(try lab.run([throttlePath, "group", "delete", group]).ending == .exited(125))
    }

    @Test func `group that doesnt exist needs a limit`() throws {
        let completed = try lab.run([throttlePath, "run", "-g", group, "--", "touch", "ran"])
        #expect(completed.ending == .exited(125) && completed.stderr.contains("there is no group '\(group)'"))
        #expect(lab.cgroup.children == [] && access("\(lab.folder)/ran", F_OK) != 0)
        let without = try lab.run([throttlePath, "run", "-g", group, "--best-effort", "--", "touch", "ran"])
        #expect(without.ending == .exited(0) && without.stderr.contains("NOT THROTTLED"))
    }

    @Test func `run inside a run of its group is charged once`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 600_000)
        let script = #""$0" run -- curl -sSf -o /dev/null "$1""#
        let words = throttle("-g", group, "-d", "300k", "--stats=json") + ["sh", "-c", script, throttlePath]
        let completed = try lab.run(
            network.near.entry + words + [server.url(NetworkPair.farAddress)], environment: ["THROTTLE_GROUP": group])
        let report = try Stats(completed.stderr)
        #expect(completed.ending == .exited(0) && report.download.passed_payload_bytes >= 600_000)
        #expect(1.3...3 ~= completed.seconds, "\(completed.seconds)")
    }

    @Test(arguments: ["", ".hidden", "a/b", "..", "a b", String(repeating: "x", count: 65)])
    func `bad names are refused`(_ name: String) throws {
        for words in [
            ["run", "-g", name, "-d", "1M", "--", "touch", "ran"], ["group", "create", name, "-d", "1M"],
            ["group", "delete", name], ["set", "--group", name, "-d", "1M"],
        ] {
            let completed = try lab.run([throttlePath] + words)
            #expect(completed.ending == .exited(125) && completed.stderr.contains("is not a group"), "\(completed)")
        }
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
    }

    @Test func `killed runs leave no group behind`() throws {
        let child = try lab.start(
            throttle("-g", group, "-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try child.waitForOutput("ready")
        child.send(SIGKILL)
        #expect(try child.wait().ending == .killed(SIGKILL))
        // The command lives, limited by the guard, which still lets others join.
        let run = try lab.run([throttlePath, "run", "-g", group, "--stats=json", "--", "true"])
        #expect(try Stats(run.stderr).group?.runs == 2)
        child.closeInput()
        #expect(poll { (try? groups().contains(group)) == false })
        let completed = try lab.run([throttlePath, "run", "-g", group, "--", "true"])
        #expect(completed.stderr.contains("there is no group"))
    }

    /// It may change the budget, as it may by `throttle set`, but ends nobody.
    @Test func `process that asks to join can spoil the budget but ends no guard`() throws {
        let child = try lab.start(
            throttle("-g", group, "-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try child.waitForOutput("ready")
        let words = ["python3", Fixtures.script("join.py"), "/run/throttle/\(child.pid).socket"]
        #expect(poll { access(words[2], F_OK) == 0 })
        #expect(try lab.require(words) == "not cut\n")
        // A few of its steps later.
        usleep(500_000)
        try lab.require([throttlePath, "set", "-g", group, "-d", "1M", "-u", "1M"])
        try lab.require([throttlePath, "stats", "\(child.pid)"])
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(0) && completed.stderr == "", "\(completed.stderr)")
    }

    /// Whether a run's last moments are another's first.
    @Test(arguments: [false, true])
    func `runs that come and go never miss each other`(isCreated: Bool) throws {
        if isCreated { try lab.require([throttlePath, "group", "create", group, "-d", "1M"]) }
        defer { if isCreated { _ = try? lab.run([throttlePath, "group", "delete", group]) } }
        let script = #"for i in $(seq 15); do "$@" || exit 9; done"#
        let shells = try (0..<4).map { _ in
            try lab.start(["sh", "-c", script, "sh"] + throttle("-g", group, "-d", "1M") + ["true"])
        }
        for shell in shells {
            let completed = try shell.wait()
            #expect(completed.ending == .exited(0) && completed.stderr == "")
        }
        #expect(poll { (try? groups().contains(#""name":"\#(group)","runs":0"#)) == isCreated })
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    @Test func `created group is joined also where nothing is limited`() throws {
        try lab.require([throttlePath, "group", "create", group, "-d", "1M"])
        defer { _ = try? lab.run([throttlePath, "group", "delete", group]) }
        try lab.require([throttlePath, "set", "-g", group, "-d", "unlimited"])
        let run = try lab.run([throttlePath, "run", "-g", group, "--stats=json", "--", "true"])
        let report = try Stats(run.stderr)
        #expect(report.group?.name == group && report.group?.download_limit_bytes_per_second == nil)
    }

    /// Words that give the command which follows a place for records of its own.
    private func recording(_ options: String = "") -> [String] {
        let script = #"mkdir -p /run/throttle; mount -t tmpfs -o "mode=700$0" none /run/throttle; exec "$@""#
        return ["unshare", "-m", "sh", "-ec", script, options]
    }

    /// The next run of the group would begin another budget.
    @Test func `run that cannot be found does not join`() throws {
        // One for the directory, one for that of groups.
        let full = recording(",nr_inodes=2")
        let refused = try lab.run(full + throttle("-g", group, "-d", "1M") + ["touch", "ran"])
        #expect(refused.ending == .exited(125) && access("\(lab.folder)/ran", F_OK) != 0)
        let reason = "can't create /run/throttle/[0-9-]+: No space left on device"
        let line = try Regex("throttle: can't join group '\(group)': \(reason)\n")
        #expect(try line.wholeMatch(in: refused.stderr) != nil, "\(refused.stderr)")
        #expect(try lab.run(full + throttle("-d", "1M") + ["true"]).ending == .exited(0))
        #expect(lab.cgroup.children == [])
    }

    /// Another run may have been stopped as it joined.
    @Test func `run that waits to join can be ended`() throws {
        let hold = #"exec flock /run/throttle/groups "$@""#
        let words = recording() + ["sh", "-c", "mkdir -m 700 /run/throttle/groups; \(hold)", "sh", "sh", "-c"]
        let wait = #""$@" & sleep 0.5; kill -TERM $!; wait $!"#
        let completed = try lab.run(
            words + [wait, "sh"] + throttle("-g", group, "-d", "1M") + ["true"], timeout: .seconds(10))
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr == "throttle: can't use /run/throttle/groups: Interrupted system call\n")
    }

    @Test func `users have groups of their own`() throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        // The working directory need not be readable.
        try lab.require(["sh", "-ec", "mkdir -m 700 own; chown 65534 own; mkdir -m 711 closed"])
        let user = ["env", "-C", "closed", "XDG_RUNTIME_DIR=\(lab.folder)/own"] + Lab.nobody + [binary]
        try lab.require([throttlePath, "group", "create", group, "-d", "1M"])
        defer { _ = try? lab.run([throttlePath, "group", "delete", group]) }
        #expect(try lab.run(user + ["group", "list", "--json"]).stdout == #"{"groups":[],"schema":1}"# + "\n")
        let refused = try lab.run(user + ["-g", group, "true"])
        #expect(refused.ending == .exited(125) && refused.stderr.contains("there is no group '\(group)'"))
        let first = try lab.start(user + ["-g", group, "-d", "5k", "sh", "-c", "echo ready; read x"], input: .pipe)
        try first.waitForOutput("ready")
        let second = try lab.run(user + ["-g", group, "--stats=json", "--", "true"])
        let report = try Stats(second.stderr)
        #expect(report.group?.runs == 2 && report.group?.download_limit_bytes_per_second == 5000)
        #expect(try groups().contains(#""name":"\#(group)","runs":0"#))
        first.closeInput()
        #expect(try first.wait().ending == .exited(1))
    }

    /// Starts a run that waits, alone in the group, and kills its guard.
    private func startWithoutGuard() throws -> Child {
        let child = try lab.start(
            throttle("-g", group, "-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try child.waitForOutput("ready")
        for pid in lab.cgroup.processes where pid != child.pid { kill(pid, SIGKILL) }
        #expect(poll { lab.cgroup.processes == [child.pid] })
        return child
    }

    @Test func `group whose guards have all died is listed without rates`() throws {
        let child = try startWithoutGuard()
        #expect(try groups().contains(#""known":false,"name":"\#(group)","runs":1,"stays":false"#))
        let table = try lab.require([throttlePath, "group", "list"]).split(separator: "\n")
        let row = table.first { $0.hasPrefix("\(group) ") }?.split(separator: " ")
        #expect(row?.dropFirst() == ["1", "-", "-", "no"], "\(table)")
        #expect(try lab.require([throttlePath, "group", "list", "--names"]).contains(group))
        for (words, error) in [
            (["set", "-g", group, "-d", "1M"], "none of the 1 runs in group '\(group)' takes the new limits"),
            (["group", "create", group, "-d", "1M"], "of which none of the 1 runs answers"),
            (["group", "delete", group], "no group '\(group)' was created"),
        ] {
            let completed = try lab.run([throttlePath] + words)
            #expect(completed.ending == .exited(125) && completed.stderr.contains(error), "\(completed.stderr)")
        }
        child.closeInput()
        #expect(try child.wait().ending == .exited(0))
        #expect(try !groups().contains(group))
    }

    /// Its share is nobody's to tell then, but its group's budget holds.
    @Test func `run without guard may use all of its groups`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 50_000_000)
        let first = try lab.start(
            throttle("-g", group, "-d", "400k") + ["sh", "-c", "echo ready; read x"], input: .pipe)
        try first.waitForOutput("ready")
        let failing = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", "inject=socketpair:error=EMFILE:when=1"]
        let words =
            failing + throttle("-g", group, "--stats=json") + ["timeout", "3", "curl", "-sSf", "-o", "/dev/null"]
        let completed = try lab.run(network.near.entry + words + [server.url(NetworkPair.farAddress)])
        #expect(completed.stderr.contains("nothing but police holds the limits"))
        let json = completed.stderr.split(separator: "\n").last { $0.hasPrefix("{") } ?? ""
        let passed = try Stats(String(json)).download.passed_payload_bytes
        #expect(0.6...1.2 ~= Double(passed) / (3 * 400_000), "\(passed)")
        first.closeInput()
        _ = try first.wait()
    }

    /// Its group's budget holds it alone then, and that is the present one.
    @Test func `run that lost its guard gets what its group is given later`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 50_000_000)
        let first = try lab.start(
            throttle("-g", group, "-d", "300k") + ["sh", "-c", "echo ready; read x"], input: .pipe)
        try first.waitForOutput("ready")
        let fetching = ["curl", "-sSf", "-o", "copy", server.url(NetworkPair.farAddress)]
        let others = lab.cgroup.processes
        let child = try lab.start(network.near.entry + throttle("-g", group, "--stats=json") + fetching)
        #expect(poll { ((try? stats(child))?.download.passed_payload_bytes ?? 0) > 100_000 })
        for pid in lab.cgroup.processes where pid != child.pid && !others.contains(pid) { kill(pid, SIGKILL) }
        #expect(poll { child.stderr.contains("the guard process was ended") })
        // The run takes over only then.
        usleep(500_000)
        for limit in [1_500_000, 600_000] {
            try lab.require([throttlePath, "set", "-g", group, "-d", "\(limit)"])
            usleep(500_000)
            let before = try lab.content("copy").count
            usleep(2_500_000)
            let rate = try Double(lab.content("copy").count - before) / 2.5
            // By dropping alone, on a machine that others use.
            #expect(0.35...1.2 ~= rate / Double(limit), "\(rate) of \(limit)")
        }
        child.send(SIGTERM)
        let json = try child.wait().stderr.split(separator: "\n").last ?? ""
        #expect(try Stats(String(json)).download.limit_bytes_per_second == 600_000)
        first.closeInput()
        _ = try first.wait()
    }
}

extension Child {
    fileprivate func cgroup(in lab: Lab) -> String { "\(lab.cgroup.path)/throttle-\(pid)/run" }
}
