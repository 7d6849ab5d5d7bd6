import Foundation
import Testing

/// Downloads wait in a queue, and lose nothing to their limit.
@Suite(.serialized) struct ShapeTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private static let limit = 2_000_000.0

    /// The words that limit the downloads of the command which follows, with the report in a file.
    private let limiting = throttle("--down", "2M", "--stats=json", "--stats-file", "stats")

    private func expectShaped(_ result: Iperf3.Result) throws {
        #expect((0.85...1.1).contains(result.bytesPerSecond / ShapeTests.limit))
        let stats = try lab.stats()
        #expect(stats.mode == "auto" && stats.planes == ["police", "shape", "window"])
        #expect(stats.shape_obstacle == nil && stats.warnings == [])
        #expect(stats.download.verdict == "throttled" && stats.download.dropped_packets == 0)
        #expect(stats.download.queue_dropped_packets == 0)
        let average = try #require(stats.download.queue_delay_average_seconds)
        #expect(try average > 0 && average <= #require(stats.download.queue_delay_maximum_seconds))
    }

    @Test(arguments: [NetworkPair.farAddress, NetworkPair.farAddress6])
    func `download over veth waits and loses nothing`(_ address: String) throws {
        let network = try NetworkPair(lab)
        let client = Iperf3.client(address, seconds: 2, "-R")
        let result = try lab.measure(limiting, from: network.near, to: network.far, client)
        #expect(result.retransmits == 0)
        try expectShaped(result)
    }

    /// When it begins, the guard sleeps, and nobody looks after the queue.
    @Test func `download after a rest waits and loses nothing`() throws {
        let network = try NetworkPair(lab)
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 2, "-R")
        let resting = limiting + ["sh", "-c", #"sleep 1.5; exec "$@""#, "sh"]
        let result = try lab.measure(resting, from: network.near, to: network.far, client)
        #expect(result.retransmits == 0)
        try expectShaped(result)
    }

    @Test func `download over loopback waits and loses nothing`() throws {
        let namespace = try Namespace(lab)
        let client = Iperf3.client("127.0.0.1", seconds: 3, "-R")
        let result = try lab.measure(limiting, from: namespace, to: namespace, client)
        #expect(try #require(result.retransmits) <= 5)
        try expectShaped(result)
    }

    @Test func `download over a long link waits and loses nothing`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 60)
        let client = Iperf3.client(WideAreaNetwork.farAddress, seconds: 3, "-R")
        let result = try lab.measure(limiting, from: network.near, to: network.far, client)
        #expect(try #require(result.retransmits) <= 5)
        try expectShaped(result)
        for counts in try network.close() { #expect(counts.overflowed == 0) }
    }

    /// Bursts wait, and between them most is led by the empty queue: nothing may overtake.
    @Test(arguments: [[], ["-g", "past-\(getpid())"]])
    func `download under its limit comes in order, mostly past the queue`(_ group: [String]) throws {
        let network = try NetworkPair(lab)
        let sender = """
            import socket, time
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.connect(("\(NetworkPair.nearAddress)", 5000))
            for number in range(3000):
                s.send(number.to_bytes(4, "big") + bytes(1196))
                # 48 kB at once, and then 0.6 of the limit, so that they drain while others come.
                if number % 300 > 40: time.sleep(0.001)
            """
        let receiver = """
            import json, socket, subprocess
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("\(NetworkPair.nearAddress)", 5000))
            s.settimeout(2)
            print("ready", flush=True)
            numbers = []
            while len(numbers) < 3000:
                numbers.append(int.from_bytes(s.recv(1200)[:4], "big"))
            links = json.loads(subprocess.check_output(["ip", "-s", "-j", "link"]))
            waited = [link["stats64"]["rx"]["packets"] for link in links if link["ifname"].startswith("thr-")]
            print(numbers == list(range(3000)), *waited)
            """
        let child = try lab.start(
            network.near.entry + limiting.dropLast() + group + ["--", "/usr/bin/python3", "-c", receiver])
        try child.waitForOutput("ready")
        try lab.require(network.far.entry + ["/usr/bin/python3", "-c", sender])
        let completed = try child.wait()
        let words = completed.stdout.split { $0.isWhitespace }
        #expect(words.dropFirst().first == "True" && words.count == 3, "\(completed.stdout) \(completed.stderr)")
        let waited = try #require(words.last.flatMap { Int($0) })
        #expect(waited >= 400 && waited < 2000)
        #expect(try lab.stats().download.dropped_packets == 0)
    }

    /// What begins goes before it: by fq_codel, or by a class of its own.
    @Test func `request beside a download at the limit doesn't wait for it`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 60)
        let server = try Iperf3.server(in: network.far, lab)
        let files = try FileServer(in: network.far, lab, bytes: 1000)
        let script = """
            for i in 1 2 3 4 5 6 7; do
                curl -sSf -o /dev/null -w '%{time_total}\\n' \(files.url(WideAreaNetwork.farAddress))
            done | sort -n | sed -n 4p
            """
        let alone = try #require(Double(lab.require(network.near.entry + ["sh", "-c", script]).dropLast()))
        let client = Iperf3.client(WideAreaNetwork.farAddress, seconds: 5, "-R", "-P", "8").joined(separator: " ")
        let beside = "\(client) >transfer & sleep 2; \(script)\nwait"
        let limiting = throttle("--down", "100k", "--stats=json", "--stats-file", "stats")
        let median = try #require(Double(lab.require(network.near.entry + limiting + ["sh", "-c", beside]).dropLast()))
        #expect(median < 1.45 * alone, "\(median) s beside the download, \(alone) s alone")
        #expect(try #require(lab.stats().download.achieved_ratio) > 0.9)
        _ = try server.wait()
    }

    /// Over the long link, as veth makes the sender wait for a queue at the other end.
    @Test func `flood of datagrams comes in at the limit`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 10)
        let server = try Iperf3.server(in: network.far, lab)
        // 40 times the limit.
        let client = Iperf3.client(WideAreaNetwork.farAddress, seconds: 3, "-R", "-u", "-b", "80M", "-l", "1400")
        let limiting = throttle("--down", "250k", "--stats=json", "--stats-file", "stats")
        let completed = try lab.run(network.near.entry + limiting + client)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        let stats = try lab.stats()
        #expect(stats.planes.contains("shape"))
        #expect(try (0.9...1.05).contains(#require(stats.download.achieved_ratio)))
        // It is the queue that drops, before the police would.
        #expect(try #require(stats.download.queue_dropped_packets) > 10 * stats.download.passed_packets)
        #expect(stats.download.dropped_packets < stats.download.passed_packets)
        _ = try server.wait()
    }

    /// Only what came through the queue shows in its counters: police alone would leave none.
    @Test func `device that appears during the run leads to the queue too`() throws {
        let first = try NetworkPair(lab)
        let far = try Namespace(lab)
        let words = limiting + ["sh", "-c", "echo ready; read x; exec \"$@\"", "sh"]
        let client = Iperf3.client("10.79.0.2", seconds: 2, "-R")
        let child = try lab.start(first.near.entry + words + client, input: .pipe)
        try child.waitForOutput("ready")
        let near = first.near.name
        try lab.require([
            "ip", "-n", near, "link", "add", "later", "type", "veth", "peer", "name", "veth0", "netns", far.name,
        ])
        try lab.require(["ip", "-n", near, "link", "set", "later", "up"])
        try lab.require(["ip", "-n", far.name, "link", "set", "veth0", "up"])
        try lab.require(["ip", "-n", near, "address", "add", "10.79.0.1/24", "dev", "later"])
        try lab.require(["ip", "-n", far.name, "address", "add", "10.79.0.2/24", "dev", "veth0"])
        let server = try Iperf3.server(in: far, lab)
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        let result = try Iperf3.Result(String(completed.stdout.drop { $0 != "{" }))
        #expect(result.retransmits == 0)
        try expectShaped(result)
        _ = try server.wait()
    }

    @Test func `policing touches no device`() throws {
        let network = try NetworkPair(lab)
        let server = try Iperf3.server(in: network.far, lab)
        let before = try devices(network.near)
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 2, "-R")
        let words = throttle("--mode", "police", "--down", "2M", "--stats=json", "--stats-file", "stats") + client
        let child = try lab.start(network.near.entry + words)
        // Looks again and again, until the transfer is over.
        var looks = 0
        while !child.hasEnded() {
            #expect(try devices(network.near) == before)
            looks += 1
        }
        #expect(looks > 5)
        #expect(try child.wait().ending == .exited(0))
        let stats = try lab.stats()
        #expect(stats.mode == "police" && stats.planes == ["police", "window"] && stats.shape_obstacle == nil)
        #expect(stats.download.queue_dropped_packets == 0 && stats.download.queue_delay_maximum_seconds == 0)
        _ = try server.wait()
    }

    /// What a namespace's devices and their qdiscs, filters and programs are, without counters and lifetimes.
    private func devices(_ namespace: Namespace) throws -> [String] {
        let script = """
            ip -j link; tc -j qdisc; bpftool -j net show
            tc filter show dev lo ingress; tc filter show dev veth0 ingress
            /usr/bin/python3 \(Fixtures.script("tcx.py")) list
            """
        return try lab.require(namespace.entry + ["sh", "-c", script]).split(separator: "\n").map(String.init)
    }

    private func takingTheQueuesName(_ words: [String]) -> [String] {
        // The run's id is its pid, which exec keeps.
        ["sh", "-c", "ip tuntap add mode tap name thr-$$ && exec \"$@\"", "sh"] + words
    }

    @Test func `without a queue shaping is an error and auto runs the command`() throws {
        let namespace = try Namespace(lab)
        let shape = throttle("--mode", "shape", "--down", "50k") + ["touch", "ran"]
        let refused = try lab.run(namespace.entry + takingTheQueuesName(shape))
        #expect(refused.ending == .exited(125) && refused.stdout == "")
        #expect(refused.stderr.contains("create device thr-") && refused.stderr.contains("has that name"))
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(lab.cgroup.runs == [])
        // Long enough for the guard to find out.
        let auto = throttle("--mode", "auto", "--down", "50k", "--stats=json") + sendingFirst("sleep 0.5; echo out")
        let completed = try lab.run(namespace.entry + takingTheQueuesName(auto))
        #expect(completed.ending == .exited(0) && completed.stdout == "out\n")
        let stats = try Stats(completed.stderr)
        #expect(stats.planes == ["police", "window"] && !stats.not_throttled)
        #expect(try #require(stats.shape_obstacle).contains("has that name"))
        // The device is somebody else's: both are still there.
        let links = try lab.require(["ip", "-n", namespace.name, "-br", "link"])
        #expect(links.matches(of: /thr-[0-9]+/).count == 2)
    }

    /// Starts a run that waits, of whose queue somebody has the name.
    private func startWithoutQueue(in namespace: Namespace, _ options: String...) throws -> Child {
        let words = [throttlePath, "run"] + options + ["--stats=json", "--stats-file", "stats", "--"]
        let waiting = sendingFirst("echo ready; read x")
        let child = try lab.start(namespace.entry + takingTheQueuesName(words + waiting), input: .pipe)
        try child.waitForOutput("ready")
        #expect(poll { (try? report(of: child)) != nil })
        return child
    }

    private func report(of child: Child) throws -> Stats {
        try Stats(lab.require([throttlePath, "stats", "\(child.pid)", "--json"]))
    }

    @Test func `queue that set could get is in the last report`() throws {
        let namespace = try Namespace(lab)
        let child = try startWithoutQueue(in: namespace, "--down", "50k")
        #expect(poll { (try? report(of: child).shape_obstacle)?.contains("has that name") == true })
        try lab.require(["ip", "-n", namespace.name, "link", "delete", "thr-\(child.pid)"])
        try lab.require([throttlePath, "set", "\(child.pid)", "--down", "80k"])
        let during = try report(of: child)
        #expect(during.planes == ["police", "shape", "window"] && during.shape_obstacle == nil)
        child.closeInput()
        _ = try child.wait()
        let stats = try lab.stats()
        #expect(stats.planes == ["police", "shape", "window"] && stats.shape_obstacle == nil)
        #expect(stats.download.limit_bytes_per_second == 80_000)
    }

    @Test func `limit that cannot be shaped is not set in mode shape`() throws {
        let namespace = try Namespace(lab)
        let child = try startWithoutQueue(in: namespace, "--up", "1M", "--mode", "shape")
        for options in [["--down", "50k"], ["--down", "50k", "--up", "2M"]] {
            let completed = try lab.run([throttlePath, "set", "\(child.pid)"] + options)
            #expect(completed.ending == .exited(125) && completed.stdout == "")
            #expect(completed.stderr.contains("can't shape downloads") && completed.stderr.contains("has that name"))
            #expect(completed.stderr.split(separator: "\n").count == 1)
            let stats = try report(of: child)
            #expect(stats.download.limit_bytes_per_second == nil && stats.upload.limit_bytes_per_second == 1_000_000)
        }
        child.closeInput()
        _ = try child.wait()
    }

    @Test func `limit that was shaped stays in mode shape where another cannot be`() throws {
        let namespace = try Namespace(lab)
        let words = throttle("--down", "50k", "--mode", "shape") + ["sh", "-c", "echo ready; read x"]
        let child = try lab.start(namespace.entry + words, input: .pipe)
        try child.waitForOutput("ready")
        let name = "thr-\(child.pid)"
        let taking = #"ip link del "$1" && ip tuntap add mode tap name "$1""#
        try lab.require(namespace.entry + ["sh", "-ec", taking, "sh", name])
        #expect(poll { (try? report(of: child))?.shape_obstacle != nil })
        let completed = try lab.run([throttlePath, "set", "\(child.pid)", "--down", "80k"])
        #expect(completed.ending == .exited(125) && completed.stderr.contains("has that name"))
        #expect(try report(of: child).download.limit_bytes_per_second == 50_000)
        child.closeInput()
        _ = try child.wait()
    }

    @Test func `limit that cannot be shaped is set in mode auto and that is said`() throws {
        let namespace = try Namespace(lab)
        let child = try startWithoutQueue(in: namespace, "--up", "1M")
        let completed = try lab.run([throttlePath, "set", "\(child.pid)", "--down", "50k"])
        #expect(completed.ending == .exited(0) && completed.stdout.contains("down 50.0 kB/s"))
        #expect(completed.stderr.contains("downloads don't wait in a queue"))
        #expect(completed.stderr.contains("has that name") && completed.stderr.split(separator: "\n").count == 1)
        let stats = try report(of: child)
        #expect(stats.download.limit_bytes_per_second == 50_000 && stats.planes == ["pace", "police", "window"])
        child.closeInput()
        _ = try child.wait()
    }
}
