import Foundation
import Testing

/// What pacing can't reach waits in a queue on its way out: nothing of it is lost, and its senders are held back.
@Suite(.serialized) struct UploadQueueTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private static let limit = 500_000.0

    private func limiting(_ options: String..., rate: String = "500k") -> [String] {
        [throttlePath, "run", "--up", rate, "--stats=json", "--stats-file", "stats"] + options + ["--"]
    }

    private func datagrams(_ words: String...) -> [String] {
        ["/usr/bin/python3", Fixtures.script("datagrams.py")] + words
    }

    /// What the sender says.
    private struct Sent: Decodable {
        let packets: Int
        let bytes: Int
        let refused: Int
        let longest: Double
        let errors: [String: Int]
        let seconds: Double
        let buffer: Int
    }

    /// What the receiver says.
    private struct Received: Decodable {
        let packets: Int
        let bytes: Int
        let tos: [Int]
        let is_ordered: Bool
        let seconds: Double
    }

    private func receiver(in namespace: Namespace) throws -> Child {
        let receiver = try lab.start(namespace.entry + datagrams("receive", "9000"), in: lab.helpers)
        try receiver.waitForOutput("ready")
        return receiver
    }

    private func received(by receiver: Child) throws -> Received {
        let text = try receiver.wait().stdout.drop { $0 != "{" }
        return try JSONDecoder().decode(Received.self, from: Data(text.utf8))
    }

    private func sent(_ completed: Completed) throws -> Sent {
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        return try JSONDecoder().decode(Sent.self, from: Data(completed.stdout.utf8))
    }

    /// Sends as many as a sender can, and none of them is lost.
    @discardableResult
    private func expectLossless(
        to address: String, _ options: String..., from near: Namespace, to far: Namespace, size: Int = 1200,
        limiting words: [String]? = nil
    ) throws -> (sent: Sent, received: Received) {
        let receiver = try receiver(in: far)
        let sending = datagrams("send", address, "9000", "3", "\(size)") + options
        let sent = try sent(lab.run(near.entry + (words ?? limiting()) + sending))
        let received = try received(by: receiver)
        #expect(sent.errors.isEmpty && received.packets == sent.packets && received.is_ordered)
        #expect((0.9...1.15).contains(Double(received.bytes) / received.seconds / UploadQueueTests.limit))
        let stats = try lab.stats()
        #expect(stats.upload.dropped_packets == 0 && stats.upload.queue_dropped_packets == 0)
        #expect(stats.planes == ["pace", "police", "queue"] && stats.upload.verdict == "throttled")
        return (sent, received)
    }

    private func links(in namespace: Namespace) throws -> [String] {
        try lab.require(["ip", "-n", namespace.name, "-br", "link"]).split(separator: "\n").map {
            String($0.prefix { $0 != " " && $0 != "@" })
        }
    }

    private func expectNothing(in namespace: Namespace, but before: [String]) {
        #expect(poll { (try? links(in: namespace)) == before })
        #expect((try? lab.require(["tc", "-n", namespace.name, "filter", "show", "dev", "lo", "egress"])) == "")
    }
}

/// Senders.
extension UploadQueueTests {
    @Test(arguments: [NetworkPair.farAddress, NetworkPair.farAddress6])
    func `blocking sender waits`(_ address: String) throws {
        let network = try NetworkPair(lab)
        let before = try links(in: network.near)
        let (sent, _) = try expectLossless(to: address, from: network.near, to: network.far)
        #expect(sent.longest < 0.4 && sent.longest > 0.01)
        expectNothing(in: network.near, but: before)
    }

    @Test func `sender that doesn't block is told to try again, and when`() throws {
        let network = try NetworkPair(lab)
        let (sent, _) = try expectLossless(
            to: NetworkPair.farAddress, "nonblocking", "errors", from: network.near, to: network.far)
        #expect(sent.refused > 0)
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func `loopback loses nothing`(_ address: String) throws {
        let namespace = try Namespace(lab)
        try expectLossless(to: address, from: namespace, to: namespace)
    }

    @Test func `device without Ethernet loses nothing`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 20, ethernet: false)
        try expectLossless(to: WideAreaNetwork.farAddress, from: network.near, to: network.far)
        for counts in try network.close() { #expect(counts.overflowed == 0 && counts.failed == 0) }
    }

    @Test func `extension headers of IPv6 are no obstacle`() throws {
        let network = try NetworkPair(lab)
        try expectLossless(to: NetworkPair.farAddress6, "extensions", from: network.near, to: network.far)
    }

    /// The kernel has no room for the fragments of a datagram in a buffer of half its size.
    @Test func `fragments are sent`() throws {
        let network = try NetworkPair(lab)
        let receiver = try receiver(in: network.far)
        let sending = datagrams("send", NetworkPair.farAddress, "9000", "3", "20000", "rate=1000000", "errors")
        let sent = try sent(lab.run(network.near.entry + limiting() + sending))
        #expect(try sent.errors.isEmpty && received(by: receiver).packets == sent.packets)
    }

    @Test func `what waits when its sender ends is sent`() throws {
        let network = try NetworkPair(lab)
        let receiver = try receiver(in: network.far)
        let sending = datagrams("send", NetworkPair.farAddress, "9000", "3", "1200", "bytes=300000")
        let sent = try sent(lab.run(network.near.entry + limiting() + sending))
        #expect(sent.seconds < 0.5)
        #expect(try received(by: receiver).packets == sent.packets)
    }

    /// No larger than it was, and only while it is held back.
    @Test func `send buffer is bounded and given back`() throws {
        let network = try NetworkPair(lab)
        let receiver = try receiver(in: network.far)
        let script = #"""
            import subprocess
            exec(open(FIXTURE).read().split("if sys.argv[1]")[0])
            sender = send("10.77.0.2", 9000, 1, 1200)
            subprocess.run([THROTTLE, "set", "me", "--up", "unlimited"], check=True, stdout=subprocess.DEVNULL)
            print(sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
            """#
        let constants = "FIXTURE = '\(Fixtures.script("datagrams.py"))'; THROTTLE = '\(throttlePath)'\n"
        let completed = try lab.run(
            network.near.entry + limiting("--name", "me") + ["/usr/bin/python3", "-c", constants + script])
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let lines = completed.stdout.split(separator: "\n").map(String.init)
        let held = try JSONDecoder().decode(Sent.self, from: Data(lines[0].utf8))
        #expect(held.buffer < 200_000 && held.buffer >= 16_384)
        #expect(try lines[1] + "\n" == lab.require(["cat", "/proc/sys/net/core/wmem_default"]))
        _ = try received(by: receiver)
    }

    @Test func `raw socket is policed, as its sender would get errors`() throws {
        let namespace = try Namespace(lab)
        let script = """
            import socket
            sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
            for i in range(500): sender.sendto(bytes(1000), ('127.0.0.1', 0))
            """
        let completed = try lab.run(namespace.entry + limiting() + ["/usr/bin/python3", "-c", script])
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let stats = try lab.stats()
        #expect(stats.upload.dropped_packets > 200 && stats.planes == ["pace", "police"])
    }
}

/// What others see.
extension UploadQueueTests {
    /// The device's own qdisc tells packets by their priority, the routes by their mark, a filter of others counts them.
    @Test func `packets keep what others tell them by`() throws {
        let network = try NetworkPair(lab)
        let script = #"""
            tc qdisc add dev veth0 root handle 1: htb default 20
            tc class add dev veth0 parent 1: classid 1:10 htb rate 10gbit
            tc class add dev veth0 parent 1: classid 1:20 htb rate 10gbit
            ip link add wrong type veth peer other; ip link set wrong up; ip link set other up
            tc qdisc add dev veth0 clsact
            tc filter add dev veth0 egress prio 9 protocol ip u32 match ip protocol 17 0xff match ip tos 0xb8 0xff \
                action mirred egress mirror dev wrong
            ip address add 10.80.0.1/24 dev wrong
            ip route add 10.81.0.2 via 10.80.0.9 dev wrong
            ip rule add fwmark 5 table 77
            ip route add 10.81.0.2 via 10.77.0.2 dev veth0 table 77
            """#
        try lab.require(network.near.entry + ["sh", "-ec", script])
        try lab.require(["ip", "-n", network.far.name, "address", "add", "10.81.0.2/32", "dev", "veth0"])
        let (sent, received) = try expectLossless(
            to: "10.81.0.2", "tos=184", "priority=65552", "mark=5", from: network.near, to: network.far)
        #expect(received.tos == [184])
        let classes = try lab.require(["tc", "-n", network.near.name, "-s", "class", "show", "dev", "veth0"])
        let first = try #require(classes.range(of: "class htb 1:10"))
        #expect(classes[first.upperBound...].contains(" \(sent.packets) pkt"))
        let filters = try lab.require(
            ["tc", "-n", network.near.name, "-s", "filter", "show", "dev", "veth0", "egress"])
        #expect(filters.contains(" \(sent.packets) pkt"), "\(filters)")
        #expect(!filters.contains("throttle_hold"))
    }

    @Test(arguments: [0.5, 1, 1.5, 5])
    func `TCP has half beside a flood`(_ share: Double) throws {
        let network = try NetworkPair(lab)
        let receiver = try receiver(in: network.far)
        let server = try Iperf3.server(in: network.far, lab)
        let rate = Int(share * UploadQueueTests.limit)
        let script = #"""
            python3 "$1" send 10.77.0.2 9000 7 1200 rate="$2" & shift 2; "$@"; wait
            """#
        let words = ["sh", "-c", script, "sh", Fixtures.script("datagrams.py"), "\(rate)"]
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 4)
        let completed = try lab.run(network.near.entry + limiting() + words + client)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        _ = try server.wait()
        let text = completed.stdout
        let end = try #require(text.range(of: "\n}\n"))
        let tcp = try Iperf3.Result(String(text[..<end.upperBound]))
        #expect((0.3...0.75).contains(tcp.bytesPerSecond / UploadQueueTests.limit) && tcp.retransmits == 0)
        let sent = try JSONDecoder().decode(Sent.self, from: Data(text[end.upperBound...].utf8))
        #expect(try sent.errors.isEmpty && received(by: receiver).packets == sent.packets)
        #expect(try lab.stats().upload.dropped_packets == 0)
    }

    @Test func `runs in each other hold both limits`() throws {
        let network = try NetworkPair(lab)
        let before = try links(in: network.near)
        let outer = throttle("--up", "2M")
        try expectLossless(
            to: NetworkPair.farAddress, from: network.near, to: network.far, limiting: outer + limiting())
        let inner = throttle("--up", "2M")
        try expectLossless(
            to: NetworkPair.farAddress, from: network.near, to: network.far, limiting: limiting() + inner)
        expectNothing(in: network.near, but: before)
    }
}

/// When there is one, and when not.
extension UploadQueueTests {
    @Test func `TCP and a few datagrams need no queue`() throws {
        let network = try NetworkPair(lab)
        let before = try links(in: network.near)
        let server = try Iperf3.server(in: network.far, lab)
        let script = #"for i in 1 2 3; do echo x >/dev/udp/10.77.0.2/9; done; exec "$@""#
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 2)
        let child = try lab.start(network.near.entry + limiting() + ["bash", "-c", script, "bash"] + client)
        while !child.hasEnded() { #expect(try links(in: network.near) == before) }
        #expect(try child.wait().ending == .exited(0) && server.wait().ending == .exited(0))
        #expect(try lab.stats().planes == ["pace", "police"])
    }

    @Test func `mode police drops, as ever`() throws {
        let network = try NetworkPair(lab)
        let sending = datagrams("send", NetworkPair.farAddress, "9000", "1", "1200")
        let sent = try sent(lab.run(network.near.entry + limiting("--mode", "police") + sending))
        let stats = try lab.stats()
        #expect(sent.errors.keys.allSatisfy { $0 == "ECONNREFUSED" } && stats.upload.dropped_packets > 1000)
        #expect(stats.planes == ["pace", "police"] && stats.upload.queue_dropped_packets == 0)
    }

    @Test func `limit that changes meanwhile is held`() throws {
        let network = try NetworkPair(lab)
        let receiver = try receiver(in: network.far)
        let script = #"""
            python3 "$1" send 10.77.0.2 9000 6 1200 & sleep 3; "$2" set me --up 200k >/dev/null; wait
            """#
        let words = ["sh", "-c", script, "sh", Fixtures.script("datagrams.py"), throttlePath]
        let sent = try sent(lab.run(network.near.entry + limiting("--name", "me") + words))
        let received = try received(by: receiver)
        #expect(sent.errors.isEmpty && received.packets == sent.packets)
        #expect((0.9...1.1).contains(Double(received.bytes) / (3 * 500_000 + 3 * 200_000)))
    }

    /// The program that leads uploads away goes with the guard, and police holds what it doesn't see any more.
    @Test(arguments: ["guard", "all"])
    func `limit outlives who made the queue`(_ victim: String) throws {
        let network = try NetworkPair(lab)
        let before = try links(in: network.near)
        let receiver = try receiver(in: network.far)
        let sending = datagrams("send", NetworkPair.farAddress, "9000", "4", "1200", "errors")
        let child = try lab.start(network.near.entry + limiting() + sending)
        #expect(poll { (try? links(in: network.near).count) == before.count + 2 })
        try killOwners(of: child, victim)
        let received = try received(by: receiver)
        // Without either of them there is no limit.
        #expect(victim == "all" || Double(received.bytes) < 1.4 * 4 * UploadQueueTests.limit)
        _ = try child.wait()
        if victim == "all" { try lab.require(network.near.entry + cleaningUp()) }
        expectNothing(in: network.near, but: before)
    }

    @Test(arguments: ["thu-", "thv-"])
    func `queue that somebody removes is told, and police holds the limit`(_ prefix: String) throws {
        let network = try NetworkPair(lab)
        let before = try links(in: network.near)
        let receiver = try receiver(in: network.far)
        let sending = datagrams("send", NetworkPair.farAddress, "9000", "4", "1200")
        let child = try lab.start(network.near.entry + limiting() + sending)
        #expect(poll { (try? links(in: network.near).contains("thv-\(child.pid)")) == true })
        #expect(
            poll {
                (try? lab.require([
                    "tc", "-n", network.near.name, "filter", "show", "dev", "thu-\(child.pid)", "egress",
                ])) != ""
            })
        usleep(500_000)
        try lab.require(["ip", "-n", network.near.name, "link", "delete", "\(prefix)\(child.pid)"])
        let completed = try child.wait()
        #expect(completed.stderr.hasPrefix("throttle: uploads don't wait in a queue any more: can't read the queue of"))
        let received = try received(by: receiver)
        #expect(Double(received.bytes) < 1.4 * 4 * UploadQueueTests.limit)
        #expect(try lab.stats().planes == ["pace", "police"])
        expectNothing(in: network.near, but: before)
    }

    /// The guard is a session of its own; throttle isn't.
    private func killOwners(of child: Child, _ victim: String) throws {
        let own = lab.cgroup.processes.filter { pid in
            let name = (try? lab.require(["cat", "/proc/\(pid)/comm"])) ?? ""
            return name.hasPrefix("throttle") && (victim == "all" || getsid(pid) == pid)
        }
        #expect(own.count == (victim == "all" ? 2 : 1))
        for pid in own { kill(pid, SIGKILL) }
    }
}
