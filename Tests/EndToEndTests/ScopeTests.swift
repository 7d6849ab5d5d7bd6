import Foundation
import Testing

/// Which peers are limited: two at the same time, one of them exempt.
@Suite(.serialized) struct ScopeTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private static let limit = 500_000.0
    /// What clients of exempt peers ask for, in bits: 20 times the limit, and little work for the machine.
    private static let exemptRate = "80M"

    /// Each family's limited peer, and the exempt one that is the same machine.
    enum Family: String, CaseIterable, Sendable {
        case ipv4, ipv6

        var peers: (limited: String, exempt: String) {
            self == .ipv4 ? (NetworkPair.farAddress, "10.77.0.3") : (NetworkPair.farAddress6, "fd77::3")
        }
        /// The exempt one's, in another form than packets have it.
        var prefix: String { self == .ipv4 ? "10.77.0.3" : "fd77::3/128" }
    }

    private func network() throws -> NetworkPair {
        let network = try NetworkPair(lab)
        for address in [["10.77.0.3/24"], ["fd77::3/64", "nodad"]] {
            try lab.require(["ip", "-n", network.far.name, "address", "add", "dev", "veth0"] + address)
        }
        return network
    }

    /// Measures both peers at once, from within one run. Returns bytes per second.
    private func measureBoth(
        _ family: Family, _ limiting: [String], _ options: [String], limitedRate: String? = nil
    ) throws -> (limited: Double, exempt: Double) {
        let network = try network()
        // Each bound to its address, as iperf3 answers datagrams from the first that it has.
        let servers = try [("5201", family.peers.limited), ("5202", family.peers.exempt)].map { port, address in
            try Iperf3.server(in: network.far, lab, "-p", port, "-B", address)
        }
        let limited =
            Iperf3.client(family.peers.limited, seconds: 3, "-p", "5201") + options
            + (limitedRate.map { ["-b", $0] } ?? [])
        let exempt = Iperf3.client(family.peers.exempt, seconds: 3, "-p", "5202", "-b", ScopeTests.exemptRate) + options
        // Both begin when the queue is there.
        let script = """
            sleep 0.5; \(exempt.joined(separator: " ")) >exempt.json & \(limited.joined(separator: " ")) >limited.json; wait
            """
        let completed = try lab.run(network.near.entry + limiting + ["sh", "-c", script])
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        for server in servers { _ = try server.wait() }
        let rates = try ["limited.json", "exempt.json"].map { name in
            try Iperf3.Result(String(decoding: lab.content(name), as: UTF8.self)).bytesPerSecond
        }
        return (rates[0], rates[1])
    }

    private func limiting(_ direction: String, _ mode: String, _ family: Family) -> [String] {
        throttle(
            direction, "\(Int(ScopeTests.limit))", "--except", family.prefix, "--mode", mode, "--stats=json",
            "--stats-file", "stats")
    }

    private func expectApart(_ traffic: Stats.Traffic, _ rates: (limited: Double, exempt: Double)) throws {
        #expect(rates.exempt > 5 * ScopeTests.limit)
        #expect(rates.exempt > 5 * rates.limited)
        #expect(traffic.verdict == "throttled")
        // The measured seconds at least; and none of them in what passed.
        #expect(Double(traffic.exempt_bytes) > 3 * 5 * ScopeTests.limit)
        #expect(Double(traffic.passed_payload_bytes) < 8 * ScopeTests.limit)
        #expect(try #require(traffic.achieved_ratio) < 1.3)
        #expect(traffic.witness_packets == traffic.program_calls)
        #expect(
            traffic.program_calls == traffic.passed_packets + traffic.dropped_packets + traffic.exempt_packets
                + (traffic.deferred_packets ?? 0))
    }

    @Test(arguments: Family.allCases, ["auto", "police"])
    func `download from an exempt peer is free beside one at the limit`(_ family: Family, _ mode: String) throws {
        let rates = try measureBoth(family, limiting("--down", mode, family), ["-R"])
        #expect(((mode == "auto" ? 0.8 : 0.5)...1.15).contains(rates.limited / ScopeTests.limit))
        let stats = try lab.stats()
        try expectApart(stats.download, rates)
        // Neither its connection for control nor that for data.
        #expect((1...2).contains(try #require(stats.download.clamped_sockets)))
        if mode == "auto" {
            #expect(stats.planes == ["police", "shape", "window"])
            #expect(stats.download.queue_dropped_packets == 0 && stats.download.dropped_packets == 0)
        }
    }

    @Test(arguments: Family.allCases, ["auto", "police"])
    func `upload to an exempt peer is free beside one at the limit`(_ family: Family, _ mode: String) throws {
        let rates = try measureBoth(family, limiting("--up", mode, family), [])
        #expect((0.8...1.15).contains(rates.limited / ScopeTests.limit))
        let stats = try lab.stats()
        try expectApart(stats.upload, rates)
        #expect((1...2).contains(try #require(stats.upload.paced_sockets)))
        #expect(stats.upload.dropped_packets == 0)
    }

    @Test(arguments: Family.allCases, ["auto", "police"])
    func `datagrams from an exempt peer are free beside those at the limit`(_ family: Family, _ mode: String) throws {
        let options = ["-R", "-u", "-l", "1000"]
        let rates = try measureBoth(family, limiting("--down", mode, family), options, limitedRate: "16M")
        #expect((0.5...1.15).contains(rates.limited / ScopeTests.limit))
        let stats = try lab.stats()
        try expectApart(stats.download, rates)
        // Over veth the sender waits for the queue.
        #expect((stats.download.dropped_packets > 0) == (mode == "police"))
    }

    @Test(arguments: Family.allCases)
    func `datagrams to an exempt peer are free beside those at the limit`(_ family: Family) throws {
        let options = ["-u", "-l", "1000"]
        let rates = try measureBoth(family, limiting("--up", "auto", family), options, limitedRate: "16M")
        #expect((0.5...1.15).contains(rates.limited / ScopeTests.limit))
        let stats = try lab.stats()
        try expectApart(stats.upload, rates)
        #expect(stats.upload.dropped_packets == 0 && stats.planes.contains("queue"))
    }

    /// Of a server in the run, which learns who its peers are as they connect; both to one port, which the queue knows
    /// when the exempt one comes. IPv4 connects to a socket of IPv6.
    @Test(arguments: Family.allCases, ["--down", "--up"])
    func `servers peers are told apart`(_ family: Family, _ direction: String) throws {
        let network = try network()
        let near = family == .ipv4 ? NetworkPair.nearAddress : "fd77::1"
        let serve = "iperf3 -s -1 --forceflush; echo again; iperf3 -s -1 --forceflush; echo last"
        let run = try lab.start(network.near.entry + limiting(direction, "auto", family) + ["sh", "-c", serve])
        for (peer, isExempt) in [(family.peers.limited, false), (family.peers.exempt, true)] {
            guard poll(until: { run.stdout.components(separatedBy: "listening").count == (isExempt ? 3 : 2) })
            else { throw HarnessError("no server: \(run.stdout)\(run.stderr)") }
            let client = Iperf3.client(near, seconds: 2, "-B", peer, "-b", ScopeTests.exemptRate)
            let options = direction == "--up" ? ["-R"] : []
            let completed = try lab.start(network.far.entry + client + options, in: lab.helpers).wait()
            let rate = try Iperf3.Result(completed.stdout).bytesPerSecond / ScopeTests.limit
            #expect(isExempt ? rate > 5 : (0.5...1.15).contains(rate))
        }
        #expect(try run.wait().ending == .exited(0))
        let stats = try lab.stats()
        let traffic = direction == "--up" ? stats.upload : stats.download
        #expect(traffic.verdict == "throttled" && traffic.witness_packets == traffic.program_calls)
        #expect(Double(traffic.exempt_bytes) > 2 * 5 * ScopeTests.limit)
        #expect(Double(traffic.passed_payload_bytes) < 5 * ScopeTests.limit)
        #expect((traffic.paced_sockets ?? 0) + (traffic.clamped_sockets ?? 0) <= 2)
    }

    /// It has to forget what was set on it for the first, whose limit isn't the exempt one's.
    @Test(arguments: ["u", "d"])
    func `a socket is free where it connects again and to an exempt peer`(_ direction: String) throws {
        let network = try WideAreaNetwork(lab, roundTrip: 60)
        let exempt = "10.78.0.3"
        try lab.require(["ip", "-n", network.far.name, "address", "add", "dev", "wan0", "\(exempt)/24"])
        let words = ["/usr/bin/python3", Fixtures.script("reuse.py")]
        let server = try lab.start(network.far.entry + words + ["serve"], in: lab.helpers)
        try server.waitForOutput("ready")
        let rate = "\(Int(ScopeTests.limit))"
        let limiting = throttle("--down", rate, "--up", rate, "--except", exempt)
        let completed = try lab.run(
            network.near.entry + limiting + words + [direction, WideAreaNetwork.farAddress, exempt])
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        let lines = completed.stdout.split(separator: "\n").map { $0.split(separator: " ").compactMap { Double($0) } }
        guard lines.count == 2, lines.allSatisfy({ $0.count == 4 }) else { throw HarnessError(completed.stdout) }
        let (limited, free) = (lines[0], lines[1])
        // What was sent includes what is in the socket's buffer.
        #expect((0.5...2.5).contains(limited[0] / ScopeTests.limit), "\(lines)")
        #expect(free[0] > 5 * ScopeTests.limit)
        // SO_MAX_PACING_RATE, TCP_MAXSEG and TCP_WINDOW_CLAMP.
        #expect(limited[1] <= ScopeTests.limit && free[1] == Double(UInt64.max))
        #expect(limited[2] <= 1448 && free[2] >= 1400)
        #expect(limited[3] < 50_000 && free[3] > 60_000)
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func `loopback is local`(_ address: String) throws {
        let namespace = try Namespace(lab)
        let client = Iperf3.client(address, seconds: 2, "-R", "-b", ScopeTests.exemptRate)
        let rate = "\(Int(ScopeTests.limit))"
        let report = ["--stats=json", "--stats-file", "stats"]
        let options = ["-d", rate, "-u", rate] + report
        let limited = [throttlePath, "run", "--scope", "local"] + options + ["--"]
        let held = try lab.measure(limited, from: namespace, to: namespace, client)
        #expect((0.8...1.15).contains(held.bytesPerSecond / ScopeTests.limit))
        #expect(try lab.stats().download.verdict == "throttled" && lab.stats().download.exempt_packets == 0)
        let internet = [throttlePath, "run", "--scope", "internet"] + options + ["--"]
        let free = try lab.measure(internet, from: namespace, to: namespace, client)
        #expect(free.bytesPerSecond > 5 * ScopeTests.limit)
        let stats = try lab.stats()
        #expect(!stats.not_throttled && stats.warnings == [])
        for traffic in [stats.download, stats.upload] {
            #expect(traffic.verdict == "exempt" && traffic.passed_packets == 0 && traffic.exempt_packets > 0)
            #expect(traffic.program_calls == traffic.exempt_packets && traffic.witness_packets == traffic.program_calls)
        }
        // Nothing was held until the queue was there.
        #expect(stats.upload.deferred_packets == 0 && stats.upload.paced_sockets == 0)
        #expect(stats.download.clamped_sockets == 0)
    }

    @Test func `what was all exempt is said in words`() throws {
        let namespace = try Namespace(lab)
        let receive = ["/usr/bin/python3", Fixtures.script("udp_receive.py"), "9000"]
        let script = #"python3 "$1" ::1 9000 100000 0.3 & shift; exec "$@""#
        let words = ["sh", "-c", script, "sh", Fixtures.script("udp_send.py")] + receive
        let completed = try lab.run(
            namespace.entry + throttle("--down", "1k", "--scope", "internet", "--stats", "--name", "all") + words)
        #expect(completed.ending == .exited(0))
        #expect(
            completed.stderr.contains("download: 0 B/s of 1.0 kB/s (0.00x, not limited, as all traffic was exempt)"))
        #expect(completed.stderr.contains(", exempt "))
    }

    @Test func `live run tells what is exempt`() throws {
        let namespace = try Namespace(lab)
        let script = #"python3 "$1" 127.0.0.1 9000 10000 10"#
        let words = ["sh", "-c", script, "sh", Fixtures.script("udp_send.py")]
        let run = try lab.start(
            namespace.entry + throttle("--up", "1k", "--except", "127.0.0.0/8", "--name", "lo-\(getpid())") + words)
        var stats: Stats?
        #expect(
            poll(until: {
                let said = try? lab.run([throttlePath, "stats", "--json", "lo-\(getpid())"])
                stats = said.flatMap { try? Stats($0.stdout) }
                return (stats?.upload.exempt_packets ?? 0) > 0
            }))
        #expect(stats?.upload.verdict == "exempt")
        run.send(SIGTERM)
        _ = try run.wait()
    }

    @Test func `bad prefix is refused before anything is done`() throws {
        let completed = try lab.run(throttle("-d", "50k", "--except", "10.1.2.3/8") + ["touch", "ran"])
        #expect(completed.ending == .exited(125) && completed.stdout == "")
        #expect(completed.stderr.contains("'10.1.2.3/8' has bits beyond its prefix: did you mean 10.0.0.0/8?"))
        #expect(access("\(lab.folder)/ran", F_OK) != 0 && lab.cgroup.runs == [])
    }
}
