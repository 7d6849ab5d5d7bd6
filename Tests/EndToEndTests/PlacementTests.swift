import Foundation
import Testing

/// The queue goes where the run's traffic goes, when it does, and nowhere else.
@Suite(.serialized) struct PlacementTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private let limiting = throttle("--down", "2M", "--stats=json", "--stats-file", "stats")

    /// All that waited lost nothing.
    private func expectLossless(_ result: Iperf3.Result, limit: Double = 2_000_000) throws {
        #expect(result.retransmits == 0 && 0.85...1.1 ~= result.bytesPerSecond / limit)
        try expectLossless()
    }

    private func expectLossless() throws {
        let stats = try lab.stats()
        #expect(stats.planes == ["police", "shape", "window"] && stats.shape_obstacle == nil)
        #expect(stats.download.dropped_packets == 0 && stats.download.queue_dropped_packets == 0)
        #expect(try #require(stats.download.queue_delay_maximum_seconds) > 0)
    }

    /// The devices of a namespace that have programs by tcx, or filters.
    private func hooked(in namespace: Namespace) throws -> [String] {
        let script = #"""
            python3 "$1" list | sed -n 's/ \[[0-9].*//p'
            for device in $(ls /sys/class/net); do
                tc filter show dev $device ingress | grep -q throttle_match && echo $device; done; true
            """#
        let words = ["ip", "netns", "exec", namespace.name, "sh", "-c", script, "sh", Fixtures.script("tcx.py")]
        return try lab.require(words).split(separator: "\n").map(String.init)
    }

    private func links(in namespace: Namespace) throws -> [String] {
        try lab.require(["ip", "-n", namespace.name, "-br", "link"]).split(separator: "\n").map {
            String($0.prefix { $0 != " " && $0 != "@" })
        }.sorted()
    }
}

/// On devices.
extension PlacementTests {
    @Test func `only the device that is used gets a program`() throws {
        let network = try NetworkPair(lab)
        let script =
            "for i in 1 2 3 4; do ip link add a$i type veth peer b$i; ip link set a$i up; ip link set b$i up; done"
        try lab.require(network.near.entry + ["sh", "-ec", script])
        let before = try links(in: network.near)
        let server = try Iperf3.server(in: network.far, lab)
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 2, "-R")
        let child = try lab.start(network.near.entry + limiting + client)
        #expect(poll { (try? hooked(in: network.near)) == ["veth0"] })
        let completed = try child.wait()
        try expectLossless(Iperf3.Result(completed.stdout))
        #expect(poll { (try? hooked(in: network.near)) == [] && (try? links(in: network.near)) == before })
        _ = try server.wait()
    }

    @Test func `run without traffic makes neither queue nor program`() throws {
        let network = try NetworkPair(lab)
        let before = try links(in: network.near)
        let child = try lab.start(network.near.entry + limiting + ["sleep", "1"])
        var looks = 0
        while !child.hasEnded() {
            #expect(try links(in: network.near) == before && hooked(in: network.near) == [])
            looks += 1
        }
        #expect(looks > 2)
        #expect(try child.wait().ending == .exited(0))
        #expect(try lab.stats().planes == ["police", "window"])
    }

    @Test(arguments: ["100k", "2M"], [false, true])
    func `download over a device without Ethernet waits and loses nothing`(_ limit: String, hasFilters: Bool) throws {
        let network = try WideAreaNetwork(lab, roundTrip: 60, ethernet: false)
        if hasFilters { try lab.require(["tc", "-n", network.near.name, "qdisc", "add", "dev", "wan0", "clsact"]) }
        let limiting = throttle("--down", limit, "--stats=json", "--stats-file", "stats")
        let client = Iperf3.client(WideAreaNetwork.farAddress, seconds: 4, "-R", "-P", "4")
        let result = try lab.measure(limiting, from: network.near, to: network.far, client)
        try expectLossless(result, limit: limit == "2M" ? 2_000_000 : 100_000)
        for counts in try network.close() { #expect(counts.overflowed == 0 && counts.failed == 0) }
    }

    @Test func `device that comes back leads to the queue again`() throws {
        let network = try NetworkPair(lab)
        let add = """
            ip link add veth1 type veth peer veth1 netns \(network.far.name); ip link set veth1 up
            ip -n \(network.far.name) link set veth1 up; ip address add 10.79.0.1/24 dev veth1
            ip -n \(network.far.name) address add 10.79.0.2/24 dev veth1
            """
        try lab.require(network.near.entry + ["sh", "-ec", add])
        let server = try Iperf3.server(in: network.far, lab, "--idle-timeout", "30")
        let script = #"echo >/dev/udp/10.79.0.2/9; echo ready; read x; exec "$@""#
        let client = Iperf3.client("10.79.0.2", seconds: 2, "-R")
        let child = try lab.start(
            network.near.entry + limiting + ["bash", "-c", script, "bash"] + client, input: .pipe)
        try child.waitForOutput("ready")
        #expect(poll { (try? hooked(in: network.near)) == ["veth1"] })
        try lab.require(network.near.entry + ["sh", "-ec", "ip link delete veth1\n" + add])
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        try expectLossless(Iperf3.Result(String(completed.stdout.drop { $0 != "{" })))
        _ = try server.wait()
    }

    /// In the middle of a transfer: what comes by the other device before that has its program is within the burst.
    @Test func `route that moves to another device loses nothing`() throws {
        let network = try NetworkPair(lab)
        let (near, far) = (network.near.name, network.far.name)
        let script = #"""
            ip link add veth1 type veth peer veth1 netns "$1"; ip link set veth1 up; ip -n "$1" link set veth1 up
            ip address add 10.79.0.1/24 dev veth1; ip -n "$1" address add 10.79.0.2/24 dev veth1
            """#
        try lab.require(network.near.entry + ["sh", "-ec", script, "sh", far])
        let server = try Iperf3.server(in: network.far, lab)
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 4, "-R", "-P", "4")
        let child = try lab.start(network.near.entry + limiting + client)
        #expect(poll { (try? hooked(in: network.near)) == ["veth0"] })
        sleep(2)
        try lab.require(["ip", "-n", near, "route", "add", "10.77.0.2/32", "via", "10.79.0.2"])
        try lab.require(["ip", "-n", far, "route", "add", "10.77.0.1/32", "via", "10.79.0.1"])
        #expect(poll { (try? hooked(in: network.near)) == ["veth0", "veth1"] })
        let completed = try child.wait()
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        try expectLossless(Iperf3.Result(completed.stdout))
        _ = try server.wait()
    }

    /// Linux has room for 64 programs on a device.
    @Test func `more runs than a device takes programs are all shaped`() throws {
        let network = try NetworkPair(lab)
        let server = try FileServer(in: network.far, lab, bytes: 100_000)
        let runs = try (0..<80).map { number in
            let words = throttle("-d", "20k", "--stats=json", "--stats-file", "stats\(number)")
            let fetching = ["curl", "-sSf", "-o", "/dev/null", server.url(NetworkPair.farAddress)]
            return try lab.start(network.near.entry + words + fetching)
        }
        for run in runs { #expect(try run.wait().ending == .exited(0)) }
        let stats = try runs.indices.map { try lab.stats("stats\($0)") }
        #expect(stats.allSatisfy { $0.planes == ["police", "shape", "window"] })
        let dropped = stats.filter { $0.download.dropped_packets > 0 }.map(\.download)
        #expect(dropped.isEmpty, "\(dropped)")
        #expect(poll { (try? links(in: network.near)) == ["lo", "veth0"] && (try? hooked(in: network.near)) == [] })
        #expect(try !lab.require(["tc", "-n", network.near.name, "qdisc"]).contains("clsact"))
    }
}

/// What a connection waits for, and what the kernel makes of it.
extension PlacementTests {
    /// A connection's first packet is deferred where it is held.
    @Test(arguments: [["--mode", "police", "-d", "1M"], ["-u", "1M"], ["-d", "1M"]])
    func `first packet is held only where it waits for a queue`(_ options: [String]) throws {
        let network = try NetworkPair(lab)
        let server = try FileServer(in: network.far, lab, bytes: 1000)
        let words = throttle("--stats=json", "--stats-file", "stats")
        let url = server.url(NetworkPair.farAddress)
        try lab.require(network.near.entry + Array(words.dropLast()) + options + ["--", "curl", "-sSf", url])
        let deferred = try #require(try lab.stats().upload.deferred_packets)
        #expect(options == ["-d", "1M"] ? deferred > 0 : deferred == 0)
    }

    /// The answer to a client's first packet is held there, which then goes out: clients don't know of our queue.
    @Test func `server's first clients find its queue`() throws {
        let network = try NetworkPair(lab)
        let words =
            throttle("-d", "500k", "--stats=json", "--stats-file", "stats") + ["iperf3", "-s", "-1", "--forceflush"]
        let server = try lab.start(network.near.entry + words)
        try server.waitForOutput("listening")
        let client = Iperf3.client(NetworkPair.nearAddress, seconds: 3, "-P", "4")
        let result = try Iperf3.Result(lab.require(network.far.entry + client))
        #expect(try server.wait().ending == .exited(0))
        try expectLossless(result, limit: 500_000)
    }

    /// The first waits, and what it set for that isn't left to later ones: their first packets are sent once.
    @Test func `long path costs no first packet more`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 200)
        let server = try FileServer(in: network.far, lab, bytes: 1000)
        let script = #"curl -sSf "$1" >/dev/null; nstat -n; curl -sSf "$1" >/dev/null; nstat -sz TcpRetransSegs"#
        let words = throttle("-d", "1M") + ["sh", "-ec", script, "sh", server.url(WideAreaNetwork.farAddress)]
        let told = try lab.require(network.near.entry + words)
        #expect(told.firstMatch(of: /TcpRetransSegs +([0-9]+)/)?.1 == "0", "\(told)")
    }

    /// On a short path its first data is held, on a long one nothing has to be.
    @Test(arguments: [0.0, 30])
    func `download over MPTCP waits and loses nothing, and an upload is paced`(_ roundTrip: Double) throws {
        let network = try WideAreaNetwork(lab, roundTrip: roundTrip)
        for direction in ["down", "up"] {
            let script = Fixtures.script("mptcp.py")
            let server = try lab.start(
                network.far.entry + ["python3", script, "serve", WideAreaNetwork.farAddress], in: lab.helpers)
            try server.waitForOutput("ready")
            let words = throttle("-d", "1M", "-u", "1M", "--stats=json", "--stats-file", "stats")
            let client = ["python3", script, direction, WideAreaNetwork.farAddress, "3"]
            try lab.require(network.near.entry + words + client)
            // The kernel makes it plain TCP where it tries a first packet three times.
            let told = try lab.require(network.near.entry + ["nstat", "-sz", "MPTcpExtMPCapableSYNACKRX"])
            #expect(told.firstMatch(of: /SYNACKRX +([0-9]+)/)?.1 == (direction == "down" ? "1" : "2"), "\(told)")
            _ = try server.wait()
            let stats = try lab.stats()
            let traffic = direction == "down" ? stats.download : stats.upload
            #expect(try 0.85...1.1 ~= #require(traffic.achieved_ratio), "\(direction)")
            #expect(traffic.dropped_packets == 0 && stats.planes == ["pace", "police", "shape", "window"])
            let queued = try #require(stats.download.queue_delay_maximum_seconds)
            #expect(direction == "up" || queued > 0)
            if direction == "down" { continue }
            // The first packet and its like.
            let deferred = try #require(traffic.deferred_packets)
            #expect(traffic.paced_sockets == 1 && deferred < 20)
        }
    }
}

/// In other network namespaces than throttle's.
extension PlacementTests {
    /// The command's: `near`; throttle's: `far`, which serves, too.
    private func start(in network: NetworkPair, _ options: [String] = [], seconds: Int = 3) throws -> Child {
        let client = Iperf3.client(NetworkPair.farAddress, seconds: seconds, "-R", "-P", "4")
        return try lab.start(
            network.far.entry + limiting.dropLast() + options + ["--"] + network.near.entry + client)
    }

    @Test func `download in a network namespace that the command enters waits and loses nothing`() throws {
        let network = try NetworkPair(lab)
        let before = [try links(in: network.near), try links(in: network.far)]
        let server = try Iperf3.server(in: network.far, lab)
        let child = try start(in: network)
        #expect(poll { (try? hooked(in: network.near)) == ["veth0"] })
        #expect(try hooked(in: network.far) == [])
        let completed = try child.wait()
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        try expectLossless(Iperf3.Result(completed.stdout))
        _ = try server.wait()
        #expect(poll { (try? [links(in: network.near), links(in: network.far)]) == before })
        #expect(try hooked(in: network.near) == [])
    }

    @Test func `network namespace that the command makes ends before the run`() throws {
        let namespace = try Namespace(lab)
        let inner = #"""
            ip link set lo up; ip link set inner up; ip address add 10.80.0.2/24 dev inner
            for i in $(seq 50); do ping -c1 -W1 10.80.0.1 >/dev/null 2>&1 && break; sleep 0.1; done
            exec iperf3 -c 10.80.0.1 -R -J -O 1 -t 2 -P 4
            """#
        let script = #"""
            unshare -n sh -c 'echo $$ >pid; read x; '"$1" <"$2" & 
            exec 3>"$2"; until [ -s pid ]; do sleep 0.05; done
            ip link add outer type veth peer inner netns $(cat pid); ip link set outer up
            ip address add 10.80.0.1/24 dev outer; iperf3 -s -1 >/dev/null & echo >&3; exec 3>&-; wait %1
            echo done >&2; sleep 2.5; ip -br link >&2
            """#
        try lab.require(["mkfifo", "go"])
        let words = limiting + ["bash", "-c", script, "bash", inner, "go"]
        let completed = try lab.run(namespace.entry + words)
        #expect(completed.ending == .exited(0))
        try expectLossless(Iperf3.Result(completed.stdout))
        // Only where nobody keeps the namespace is the device gone.
        let told = completed.stderr.split(separator: "done\n").last ?? ""
        #expect(!told.contains("outer"), "\(completed.stderr)")
    }

    /// Everything that has been killed leaves nothing, there either.
    @Test(arguments: [["guard"], ["throttle"], ["guard", "throttle"]])
    func `kill leaves nothing in the other network namespace`(_ victims: [String]) throws {
        let network = try NetworkPair(lab)
        let before = try links(in: network.near)
        let server = try Iperf3.server(in: network.far, lab)
        let child = try start(in: network, seconds: 4)
        #expect(poll { (try? hooked(in: network.near)) == ["veth0"] })
        let guards = lab.cgroup.processes.filter { $0 != child.pid }
        if victims.contains("throttle") { child.send(victims.count > 1 ? SIGSTOP : SIGKILL) }
        if victims.contains("guard") { for pid in guards { kill(pid, SIGKILL) } }
        if victims.count > 1 {
            #expect(poll { lab.cgroup.processes == [child.pid] })
            child.send(SIGKILL)
        }
        if victims == ["guard"] { #expect(poll { (try? links(in: network.near)) == before }) }
        _ = try child.wait()
        #expect(poll(timeout: .seconds(20)) { lab.cgroup.processes == [] })
        if victims.count > 1 {
            #expect(poll { (try? lab.run(cleaningUp())) != nil && (try? links(in: network.near)) == before })
        }
        #expect(poll { (try? links(in: network.near)) == before && (try? hooked(in: network.near)) == [] })
        _ = try server.wait()
    }

    @Test func `ordinary user is told that another network namespace can't be entered`() throws {
        let network = try NetworkPair(lab)
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let server = try Iperf3.server(in: network.far, lab)
        let script =
            #"exec unshare -Urn sh -c 'ip link set lo up; iperf3 -s -1 >/dev/null & sleep 0.5; iperf3 -c 127.0.0.1 -R -t 2 >/dev/null'"#
        let words = Lab.nobody + [binary, "-d", "500k", "-v", "--stats=json", "--", "sh", "-c", script]
        let completed = try lab.run(network.near.entry + words)
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        #expect(completed.stderr.contains("not shaped in another network namespace: "), "\(completed.stderr)")
        let json = completed.stderr.split(separator: "\n").last { $0.hasPrefix("{") } ?? ""
        let stats = try Stats(String(json))
        #expect(stats.planes == ["police", "window"] && stats.download.verdict == "throttled")
        kill(server.pid, SIGTERM)
    }
}
