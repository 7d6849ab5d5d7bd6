import Foundation
import Testing

/// What runs already is limited for a while, with what it has open, and then as it was.
@Suite(.serialized) struct AttachTests {
    let lab: Lab
    let network: NetworkPair

    init() throws {
        lab = try Lab()
        network = try NetworkPair(lab)
    }

    private static let limit = 1_000_000.0

    /// In the near namespace and in a cgroup of its own below that of commands.
    private func start(_ words: [String], input: Child.Input = .null) throws -> Child {
        let script = #"mkdir -p "$1/target"; echo 0 >"$1/target/cgroup.procs"; shift; exec "$@""#
        let child = try lab.start(
            network.near.entry + ["sh", "-c", script, "sh", lab.cgroup.path] + words, input: input)
        let name = words[0]
        try #require(
            poll { (try? lab.require(["cat", "/proc/\(child.pid)/cmdline"]))?.hasPrefix(name + "\0") == true })
        return child
    }

    private func attaching(_ options: String..., to process: pid_t, stats: String = "stats") -> [String] {
        let words = [throttlePath, "run", "-p", "\(process)", "--stats=json", "--stats-file", stats]
        return network.near.entry + words + options
    }

    private func cgroup(of process: pid_t) throws -> String {
        try lab.require(["cat", "/proc/\(process)/cgroup"])
    }

    private func expectNothingLeft() throws {
        #expect(poll { (try? lab.require(["find", lab.cgroup.path, "-name", "throttle-*"])) == "" })
        let links = try lab.require(["ip", "-n", network.near.name, "-br", "link"])
        #expect(poll { !links.contains("thr-") && !links.contains("thu-") })
    }

    /// How many connections of the near namespace may not send as fast as they can.
    private func pacedConnections() throws -> Int {
        try lab.require(network.near.entry + ["ss", "-tinH"]).matches(of: /pacing_rate [^ \/]+\//).count
    }

    private func client(_ options: [String]) -> [String] {
        ["iperf3", "-c", NetworkPair.farAddress, "-t", "8", "-i", "0.5", "--forceflush"] + options
    }

    /// Bits a second in each half of a second.
    private func rates(_ text: String) -> [Double] {
        let sums = text.split(separator: "\n").filter {
            $0.contains("/sec") && !$0.contains("sender") && !$0.contains("receiver")
        }
        let own = sums.contains { $0.contains("[SUM]") } ? sums.filter { $0.contains("[SUM]") } : sums
        return own.compactMap { line in
            let words = line.split(separator: " ")
            guard let unit = words.firstIndex(where: { $0.hasSuffix("bits/sec") }), let number = Double(words[unit - 1])
            else { return nil }
            return number * (["K": 1e3, "M": 1e6, "G": 1e9][words[unit].prefix(1)] ?? 1)
        }
    }
}

/// Transfers that are under way.
extension AttachTests {
    @Test(arguments: [[], ["-P", "8"], ["-R"], ["-R", "-P", "8"], ["-u", "-b", "80M"], ["-u", "-b", "80M", "-R"]])
    func `transfer is limited at once, and goes on at full speed then`(_ options: [String]) throws {
        let server = try Iperf3.server(in: network.far, lab)
        let transfer = try start(client(options))
        let home = try cgroup(of: transfer.pid)
        usleep(2_000_000)
        let isDownload = options.contains("-R")
        let completed = try lab.run(
            attaching(isDownload ? "-d" : "-u", "1M", "--for", "3s", to: transfer.pid))
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        #expect(try cgroup(of: transfer.pid) == home)
        let stats = try lab.stats()
        let traffic = isDownload ? stats.download : stats.upload
        #expect((0.9...1.1).contains(try #require(traffic.achieved_ratio)) && traffic.dropped_packets == 0)
        #expect(stats.planes.contains(isDownload ? "shape" : options.contains("-u") ? "queue" : "pace"))
        #expect(stats.not_throttled == false && stats.attached_to == "process \(transfer.pid)")
        let rates = try rates(transfer.wait().stdout)
        #expect(try #require(rates.prefix(3).max()) > 50e6 && #require(rates.suffix(3).max()) > 50e6, "\(rates)")
        _ = try server.wait()
        try expectNothingLeft()
    }

    @Test func `send buffer is given back`() throws {
        let receiver = try lab.start(
            network.far.entry + ["/usr/bin/python3", Fixtures.script("datagrams.py"), "receive", "9000"],
            in: lab.helpers)
        try receiver.waitForOutput("ready")
        let sender = try start(
            ["/usr/bin/python3", Fixtures.script("datagrams.py"), "send", NetworkPair.farAddress, "9000", "4", "1200"])
        usleep(500_000)
        let completed = try lab.run(attaching("-u", "500k", "--for", "2s", to: sender.pid))
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        #expect(try lab.stats().planes == ["pace", "police", "queue"])
        let usual = try lab.require(["cat", "/proc/sys/net/core/wmem_default"]).dropLast()
        #expect(try sender.wait().stdout.contains("\"buffer\": \(usual)}"))
        _ = try receiver.wait()
    }

    @Test func `neighbour in its cgroup isn't limited`() throws {
        let servers = [try Iperf3.server(in: network.far, lab), try Iperf3.server(in: network.far, lab, "-p", "5301")]
        let limited = try start(client([]))
        let other = try start(client(["-p", "5301"]))
        usleep(1_000_000)
        let completed = try lab.run(attaching("-u", "1M", "--for", "3s", to: limited.pid))
        #expect(completed.ending == .exited(0))
        #expect(try #require(rates(other.wait().stdout).dropFirst(4).dropLast(3).min()) > 50e6)
        _ = try limited.wait()
        for server in servers { _ = try server.wait() }
    }

    /// Its connections are accepted, before and meanwhile.
    @Test func `server is limited`() throws {
        let server = try start(["iperf3", "-s", "--forceflush"])
        try server.waitForOutput("listening")
        let words = network.far.entry + ["iperf3", "-c", "10.77.0.1", "-R", "-J", "-O", "1", "-t", "3"]
        let child = try lab.start(attaching("-u", "1M", to: server.pid))
        #expect(poll { (try? cgroup(of: server.pid).contains("/throttle-")) == true })
        for _ in 0..<2 {
            let completed = try lab.run(words)
            #expect((0.85...1.15).contains(try Iperf3.Result(completed.stdout).bytesPerSecond / AttachTests.limit))
        }
        kill(child.pid, SIGTERM)
        #expect(try child.wait().ending == .killed(SIGTERM))
        #expect(try Iperf3.Result(lab.run(words).stdout).bytesPerSecond > 20 * AttachTests.limit)
        kill(server.pid, SIGTERM)
        _ = try server.wait()
        try expectNothingLeft()
    }

    /// With its workers, which serve what they have accepted before, and what comes.
    @Test func `nginx is limited by its master process`() throws {
        let server = try FileServer(in: network.near, lab, bytes: 1_000_000, workers: 2)
        let home = try cgroup(of: server.pid)
        let script = """
            import http.client, os, time
            kept = http.client.HTTPConnection("\(NetworkPair.nearAddress)", 8077)
            for phase in "before", "limited", "after":
                while not os.path.exists(phase): time.sleep(0.01)
                for connection in kept, http.client.HTTPConnection(kept.host, 8077):
                    began = time.monotonic()
                    connection.request("GET", "/file")
                    print(len(connection.getresponse().read()) / (time.monotonic() - began), flush=True)
            """
        let client = try lab.start(network.far.entry + ["/usr/bin/python3", "-c", script], in: lab.helpers)
        func measure(_ phase: String) throws -> [Double] {
            let count = client.stdout.split(separator: "\n").count + 2
            try lab.write("", to: phase)
            try #require(poll { client.stdout.split(separator: "\n").count == count && client.stdout.hasSuffix("\n") })
            return client.stdout.split(separator: "\n").suffix(2).map { (Double($0) ?? 0) / AttachTests.limit }
        }
        #expect(try #require(measure("before").min()) > 5)
        let child = try lab.start(attaching("-u", "1M", to: server.pid))
        #expect(poll { (try? pacedConnections()) == 2 })
        let limited = try measure("limited")
        #expect(limited.allSatisfy { 0.6...1.5 ~= $0 }, "\(limited)")
        kill(child.pid, SIGTERM)
        #expect(try child.wait().ending == .killed(SIGTERM))
        #expect(try cgroup(of: server.pid) == home && lab.helpers.children == [])
        #expect(try #require(measure("after").min()) > 5)
        try expectNothingLeft()
    }

    @Test func `a thousand connections are paced, and then none`() throws {
        let script = """
            import resource, socket, sys
            resource.setrlimit(resource.RLIMIT_NOFILE, 2 * resource.getrlimit(resource.RLIMIT_NOFILE)[1:])
            server = socket.create_server(("127.0.0.1", 0))
            pairs = [(socket.create_connection(server.getsockname()), server.accept()[0]) for _ in range(500)]
            print("ready", flush=True)
            sys.stdin.read()
            for one, other in pairs:
                for sender, receiver in (one, other), (other, one):
                    sender.sendall(b"whole")
                    assert receiver.recv(9) == b"whole"
            """
        let target = try start(["/usr/bin/python3", "-c", script], input: .pipe)
        try target.waitForOutput("ready")
        #expect(try pacedConnections() == 0)
        let child = try lab.start(attaching("-u", "1M", "-d", "1M", to: target.pid))
        #expect(poll { (try? pacedConnections()) == 1000 })
        kill(child.pid, SIGTERM)
        #expect(try child.wait().ending == .killed(SIGTERM))
        #expect(try pacedConnections() == 0)
        target.closeInput()
        let completed = try target.wait()
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        try expectNothingLeft()
    }

    @Test func `two of a group share its budget`() throws {
        let ports = ["5201", "5301"]
        let servers = try ports.map { try Iperf3.server(in: network.far, lab, "-p", $0) }
        let transfers = try ports.map { try start(client(["-p", $0, "-t", "6"])) }
        usleep(500_000)
        let children = try transfers.map {
            let options = attaching(
                "-u", "1M", "--for", "4s", "-g", "attach-\(getpid())", to: $0.pid, stats: "\($0.pid)")
            return try lab.start(options)
        }
        for child in children {
            let completed = try child.wait()
            #expect(completed.ending == .exited(0) && completed.stderr == "")
        }
        let shares = try transfers.map {
            try lab.stats("\($0.pid)").upload.achieved_bytes_per_second / AttachTests.limit
        }
        #expect(0.85...1.15 ~= shares.reduce(0, +) && shares.allSatisfy { 0.35...0.65 ~= $0 }, "\(shares)")
        for transfer in transfers { #expect(try #require(rates(transfer.wait().stdout).suffix(2).max()) > 50e6) }
        for server in servers { _ = try server.wait() }
        try expectNothingLeft()
    }

    @Test func `what it has started and starts is limited, too, until the last has ended`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 700_000)
        let url = server.url(NetworkPair.farAddress)
        let script =
            #"echo ready; read x; sh -c 'sleep 0.5; curl -sSf -o /dev/null $0; curl -sSf -o /dev/null $0' "$1" & wait"#
        let target = try start(["sh", "-c", script, "sh", url], input: .pipe)
        try target.waitForOutput("ready")
        let child = try lab.start(attaching("-d", "500k", to: target.pid))
        #expect(poll { (try? cgroup(of: target.pid).contains("/throttle-")) == true })
        target.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(0) && completed.seconds > 2)
        let stats = try lab.stats()
        #expect(stats.download.passed_payload_bytes > 1_400_000 && stats.download.verdict == "throttled")
        _ = try target.wait()
    }
}

/// Ways out.
extension AttachTests {
    @Test(arguments: [SIGINT, SIGKILL], ["throttle", "guard"])
    func `all is as before, whoever ends how`(_ signal: Int32, _ victim: String) throws {
        let server = try Iperf3.server(in: network.far, lab)
        let transfer = try start(client([]))
        let home = try cgroup(of: transfer.pid)
        let child = try lab.start(attaching("-u", "1M", to: transfer.pid))
        #expect(poll { (try? cgroup(of: transfer.pid)) != home })
        let guardPID = try #require(
            lab.cgroup.processes.first { pid in
                getsid(pid) == pid && (try? lab.require(["cat", "/proc/\(pid)/comm"]))?.hasPrefix("throttle") == true
            })
        usleep(500_000)
        kill(victim == "guard" ? guardPID : child.pid, signal)
        if victim == "guard" { kill(child.pid, SIGINT) }
        #expect(try child.wait().ending == .killed(victim == "guard" ? SIGINT : signal))
        #expect(poll { (try? cgroup(of: transfer.pid)) == home })
        #expect(try #require(rates(transfer.wait().stdout).suffix(3).max()) > 50e6)
        _ = try server.wait()
        try expectNothingLeft()
    }

    @Test func `nothing is left of many in a row`() throws {
        let target = try start(["sleep", "60"])
        let home = try cgroup(of: target.pid)
        for _ in 0..<30 {
            #expect(try lab.run(attaching("-d", "1M", "--for", "10ms", to: target.pid)).ending == .exited(0))
            #expect(try cgroup(of: target.pid) == home)
        }
        try expectNothingLeft()
        kill(target.pid, SIGKILL)
        _ = try target.wait()
    }

    @Test func `run is listed, asked and changed as any other`() throws {
        let target = try start(["sleep", "60"])
        let child = try lab.start(attaching("-d", "1M", "--name", "attached", to: target.pid))
        #expect(poll { (try? lab.run([throttlePath, "list"]).stdout.contains("attached")) == true })
        let list = try lab.run([throttlePath, "list"]).stdout
        #expect(list.split(separator: "\n").contains { $0.contains("attached") && $0.contains("sleep 60") }, "\(list)")
        #expect(try lab.run([throttlePath, "set", "attached", "-d", "2M"]).ending == .exited(0))
        #expect(
            try lab.run([throttlePath, "stats", "attached"]).stdout.contains("attached to process \(target.pid) after"))
        kill(target.pid, SIGKILL)
        _ = try target.wait()
        #expect(try child.wait().ending == .exited(0))
        #expect(try lab.stats().download.limit_bytes_per_second == 2_000_000)
    }
}

/// What can't be.
extension AttachTests {
    @Test func `what can't be limited is refused, and nothing changes`() throws {
        let target = try start(["sleep", "60"])
        let other = try lab.start(network.near.entry + ["sleep", "60"])
        let child = try lab.start(attaching("-d", "1M", to: target.pid))
        #expect(poll { (try? cgroup(of: target.pid).contains("/throttle-")) == true })
        let kernels = try #require(Int32(lab.require(["pgrep", "-xo", "kthreadd"]).dropLast()))
        for (words, reason) in [
            (["-p", "4194303"], "can't limit process 4194303: No such process"),
            (["-p", "\(kernels)"], "can't limit process \(kernels): Invalid argument; it is a thread of the kernel's"),
            (["-p", "\(getpid())"], "throttle itself is in it, or was started by it"),
            (["-p", "\(target.pid)"], "it is in run \(child.pid) already"),
            (["-p", "\(other.pid)", "-p", "1"], "throttle itself is in it, or was started by it"),
            (["-p", "0"], "'0' is not a process ID"), (["-p", "x"], "'x' is not a process ID"),
            (["-p", "\(other.pid)", "--for", "0s"], "'0s' is no time at all"),
            (["-p", "\(other.pid)", "--", "true"], "Either a command, or what runs already: not both."),
            (["-p", "\(other.pid)", "--user", "nobody"], "--user goes with a command, not with what runs already."),
            (["--for", "1s", "--", "true"], "--for goes with what runs already"),
        ] {
            let completed = try lab.run([throttlePath, "run", "-d", "1M"] + words)
            #expect(completed.ending == .exited(125) && completed.stderr.contains(reason), "\(completed.stderr)")
        }
        for process in [other, target] {
            kill(process.pid, SIGKILL)
            _ = try process.wait()
        }
        _ = try child.wait()
        try expectNothingLeft()
    }
}

/// All of a cgroup.
extension AttachTests {
    private func limit(_ target: [String], _ options: String...) throws -> Completed {
        let words = [throttlePath, "run", "--stats=json", "--stats-file", "stats", "--for", "3s"]
        return try lab.run(network.near.entry + words + target + options)
    }

    @Test(arguments: [[], ["-R"], ["-u", "-b", "80M"]])
    func `cgroup is limited as it is`(_ options: [String]) throws {
        let server = try Iperf3.server(in: network.far, lab)
        let transfer = try start(client(options))
        let home = try cgroup(of: transfer.pid)
        usleep(2_000_000)
        let isDownload = options.contains("-R")
        let completed = try limit(["--cgroup", lab.cgroup.path + "/target"], isDownload ? "-d" : "-u", "1M")
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        #expect(try cgroup(of: transfer.pid) == home)
        let stats = try lab.stats()
        #expect((0.85...1.15).contains(try #require((isDownload ? stats.download : stats.upload).achieved_ratio)))
        #expect(stats.attached_to == "cgroup \(lab.cgroup.path)/target" && stats.not_throttled == false)
        #expect(try #require(rates(transfer.wait().stdout).suffix(3).max()) > 50e6)
        _ = try server.wait()
        try expectNothingLeft()
    }

    @Test func `unit is found by its name`() throws {
        let target = try start(["sleep", "60"])
        let folder = "\(lab.cgroup.path)/e2e.slice/e2e-\(getpid()).service"
        try lab.require(["sh", "-ec", #"mkdir -p "$1"; echo "$2" >"$1/cgroup.procs""#, "sh", folder, "\(target.pid)"])
        let found = try limit(["--unit", "e2e-\(getpid())"], "-d", "1M")
        #expect(found.ending == .exited(0), "\(found.stderr)")
        #expect(try lab.stats().attached_to == "unit e2e-\(getpid())")
        kill(target.pid, SIGKILL)
        _ = try target.wait()
        for (target, reason) in [
            (["--unit", "e2e-\(getpid())"], "nothing runs there"),
            (["--unit", "no-such"], "systemctl status no-such.service"),
            (["--user-unit", "no-such"], "systemctl --user status no-such.service"),
            (["--cgroup", "/tmp"], "it is not a directory of a cgroup v2 file system"),
            (["--cgroup", lab.cgroup.path], "throttle itself is in it"),
            (["--unit", "a/b"], "'a/b' is not the name of a unit"),
            (["--unit", "a", "--cgroup", "b"], "Give one of -p, --cgroup, --unit and --user-unit."),
        ] {
            let refused = try limit(target, "-d", "1M")
            #expect(refused.ending == .exited(125) && refused.stderr.contains(reason), "\(refused.stderr)")
        }
    }
}
