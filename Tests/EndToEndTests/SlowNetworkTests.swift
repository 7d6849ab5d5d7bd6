import Foundation
import Testing

/// Networks that are slow besides their rate, and quotas.
@Suite(.serialized) struct SlowNetworkTests {
    let lab: Lab
    let network: NetworkPair

    init() throws {
        lab = try Lab()
        network = try NetworkPair(lab)
    }

    /// Sends so many datagrams to one that sends them back, and prints how many came back. With `within`, both are one process.
    private static let echoes = """
        import socket, sys, threading, time
        address, count, within = ("127.0.0.1", int(sys.argv[1])), int(sys.argv[2]), sys.argv[3:] == ["within"]
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        def echo():
            while True:
                server.sendto(*server.recvfrom(100))
        if within or count == 0:
            server.bind(address)
            threading.Thread(target=echo, daemon=True).start()
        if count == 0:
            print("ready", flush=True)
            time.sleep(60)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(address)
        def send():
            for _ in range(count):
                client.send(b"x")
                time.sleep(0.0005)
        threading.Thread(target=send, daemon=True).start()
        client.settimeout(1)
        came = 0
        try:
            while client.recv(100):
                came += 1
        except (TimeoutError, ConnectionRefusedError):
            print(came)
        """

    private func echoing(_ words: String...) -> [String] { ["python3", "-c", SlowNetworkTests.echoes] + words }

    @Test func `as many packets are lost as asked for, each way, and told`() throws {
        let server = try lab.start(network.near.entry + echoing("7000", "0"), in: lab.helpers)
        defer { server.send(SIGKILL) }
        try server.waitForOutput("ready")
        let completed = try lab.run(
            network.near.entry + throttle("--loss", "20%", "--stats=json") + echoing("7000", "2000"))
        let missing = 2000 - (Int(completed.stdout.dropLast()) ?? 0)
        // 36 % are to be; that is nine standard deviations.
        #expect((620...820).contains(missing), "\(missing)")
        let stats = try Stats(completed.stderr)
        #expect(stats.loss_share == 0.2 && stats.planes == [])
        let (down, up) = (stats.download.lost_packets ?? 0, stats.upload.lost_packets ?? 0)
        #expect(down + up == missing && down > 200 && up > 300)
    }

    @Test func `what goes from the run to itself is lost by one chance`() throws {
        let completed = try lab.run(
            network.near.entry + throttle("--loss", "20%", "--stats=json") + echoing("7000", "2000", "within"))
        let missing = 2000 - (Int(completed.stdout.dropLast()) ?? 0)
        #expect((620...820).contains(missing), "\(missing)")
        let stats = try Stats(completed.stderr)
        #expect(stats.upload.lost_packets == 0 && stats.download.lost_packets ?? 0 == missing)
    }

    @Test(arguments: [[], ["-R"]])
    func `TCP finds out by itself, and the limit holds`(_ direction: [String]) throws {
        let server = try Iperf3.server(in: network.far, lab)
        let options = ["--loss", "1%", direction == [] ? "-u" : "-d", "1M", "--stats=json", "--stats-file", "stats"]
        // A packet is up to 64 KB, so it takes some time until some are lost.
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 10) + direction
        let result = try Iperf3.Result(try lab.require(network.near.entry + throttle(options) + client))
        _ = try server.wait()
        #expect(result.retransmits ?? 0 > 3)
        #expect((0.85...1.05).contains(result.bytesPerSecond / 1_000_000), "\(result.bytesPerSecond)")
        let stats = try stats()
        #expect(stats.download.lost_packets ?? 0 > 0 && stats.upload.lost_packets ?? 0 > 0)
    }

    @Test func `loss is changed while the command runs, and listed`() throws {
        let run = try lab.start(network.near.entry + throttle("--loss", "100%", "--name", "lossy") + ["sleep", "30"])
        defer { run.send(SIGTERM) }
        var listed = ""
        #expect(
            poll {
                listed = (try? lab.require([throttlePath, "list"])) ?? ""
                return listed.contains("loss 100%")
            }, "\(listed)")
        let changed = try lab.require([throttlePath, "set", "lossy", "--loss", "0.5%"])
        #expect(changed.hasSuffix(": down unlimited, up unlimited, loss 0.5%\n"))
        let refused = try lab.run([throttlePath, "set", "lossy", "--jitter", "5ms"])
        #expect(refused.ending == .exited(125) && refused.stderr.contains("--jitter is at most as long as --rtt"))
    }

    /// Its queue is made anew then, as programs that lose nothing are smaller.
    @Test func `downloads wait in a queue still where loss is asked for later`() throws {
        let server = try Iperf3.server(in: network.far, lab)
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 6, "-R")
        let run = try lab.start(network.near.entry + throttle("-d", "500k", "--name", "later") + client)
        #expect(poll { ((try? waited()) ?? 0) > 10 })
        try lab.require([throttlePath, "set", "later", "--loss", "0.01%"])
        #expect(poll { (try? waited() ?? .max) ?? .max < 10 })
        #expect(poll { ((try? waited()) ?? 0) > 20 })
        run.send(SIGTERM)
        _ = try run.wait()
        server.send(SIGTERM)
        _ = try server.wait()
    }

    /// Packets that came to the run's queue for downloads; nil where there is none.
    private func waited() throws -> Int? {
        let text = try lab.require(["ip", "-n", network.near.name, "-s", "-o", "link"])
        let queue = text.split(separator: "\n").first { $0.contains(": thr-") }
        return queue?.firstMatch(of: /RX: .*? [0-9]+ +([0-9]+)/).flatMap { Int($0.1) }
    }

    private func stats() throws -> Stats { try Stats(String(decoding: lab.content("stats"), as: UTF8.self)) }

    private func expectNothingLeft() throws {
        #expect(poll { lab.cgroup.children == [] })
        #expect(
            poll {
                let links = try? lab.require(["ip", "-n", network.near.name, "-br", "link"])
                return links.map { !$0.contains("thr-") && !$0.contains("thu-") } ?? false
            })
    }

    /// Kernels with netem are tested in guests: see network.sh there.
    @Test func `a delay that can't be had is an error, or is told and done without`() throws {
        let hasDelay = try lab.run(
            network.near.entry + ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])
        if hasDelay.ending == .exited(0) { return }
        let failed = try lab.run(network.near.entry + throttle("--rtt", "100ms") + ["true"])
        #expect(failed.ending == .exited(125))
        #expect(failed.stderr.hasPrefix("throttle: can't make the network slow: can't delay packets by qdisc netem"))
        for word in ["sch_netem", "Debian", "Ubuntu", "Fedora"] { #expect(failed.stderr.contains(word)) }
        try expectNothingLeft()
        let options = ["--best-effort", "--rtt", "100ms", "-d", "1M", "--stats=json", "--stats-file", "stats"]
        let done = try lab.run(network.near.entry + throttle(options) + ["sh", "-c", "exit 7"])
        #expect(done.ending == .exited(7) && done.stderr.hasPrefix("throttle: NOT SLOWED: "))
        let stats = try stats()
        #expect(stats.warnings.contains { $0.hasPrefix("NOT SLOWED: ") } && stats.rtt_seconds == 0)
        #expect(stats.planes.contains("police") && !stats.planes.contains("delay"))
        try expectNothingLeft()
    }

    @Test func `a profile of one's own sets what isn't given beside it`() throws {
        try lab.require(["mkdir", "throttle"])
        try lab.write("# mine\noffice down=300k up=200k loss=1%\n", to: "throttle/profiles")
        let environment = ["XDG_CONFIG_HOME": lab.folder, "THROTTLE_DOWN": "5M"]
        let words = throttle("--profile", "office", "-u", "100k", "--stats=json") + ["true"]
        let stats = try Stats(try lab.run(words, environment: environment).stderr)
        #expect(stats.download.limit_bytes_per_second == 300_000 && stats.upload.limit_bytes_per_second == 100_000)
        #expect(stats.loss_share == 0.01)
        let unknown = try lab.run(throttle("--profile", "nope") + ["true"], environment: environment)
        #expect(
            unknown.ending == .exited(125) && unknown.stderr.contains("3gslow") && unknown.stderr.contains("office"))
    }
}

extension SlowNetworkTests {
    private static let quota = 700_000

    @Test(arguments: [["-R"], []])
    func `no byte more passes than the quota, and the command is ended`(_ direction: [String]) throws {
        let server = try Iperf3.server(in: network.far, lab)
        defer { server.send(SIGKILL) }
        let options = ["--quota", "700k", "-d", "1M", "-u", "1M", "--stats=json", "--stats-file", "stats"]
        let client = ["iperf3", "-c", NetworkPair.farAddress, "-t", "20"] + direction
        let completed = try lab.run(network.near.entry + throttle(options) + client)
        #expect(completed.ending == .exited(124))
        #expect(completed.stderr.contains("throttle: the quota of 700.0 kB is used up: the command is ended\n"))
        let stats = try stats()
        #expect(stats.quota_bytes == SlowNetworkTests.quota && stats.ended_by_quota == true)
        // A segment of TCP's that is refused is 64 KB at most.
        #expect((SlowNetworkTests.quota - 65_536...SlowNetworkTests.quota).contains(stats.quota_used_bytes ?? 0))
        try expectNothingLeft()
    }

    @Test func `a command that doesn't end is killed, and one that moves less has its own status`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 1_000_000)
        let fetching = "trap '' TERM; curl -sS \(server.url(NetworkPair.farAddress)) -o copy; sleep 20"
        let options = ["--quota", "300k", "--kill-after", "200ms"]
        let killed = try lab.run(network.near.entry + throttle(options) + ["sh", "-c", fetching])
        #expect(killed.ending == .exited(124) && killed.seconds < 15)
        let done = try lab.run(
            network.near.entry + throttle("--quota", "2M")
                + ["sh", "-c", "curl -sS \(server.url(NetworkPair.farAddress)) -o copy; exit 3"])
        #expect(done.ending == .exited(3) && done.stderr == "")
        #expect(try lab.content("copy") == server.content)
    }
}
