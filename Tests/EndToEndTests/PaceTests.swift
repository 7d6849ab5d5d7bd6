import Foundation
import Testing

/// TCP's uploads are sent at the limit, and lose nothing to it.
@Suite(.serialized) struct PaceTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private static let limit = 2_000_000.0

    /// The words that limit the uploads of the command which follows, with the report in a file.
    private let limiting = throttle("--up", "2M", "--stats=json", "--stats-file", "stats")

    private func expectPaced(_ result: Iperf3.Result, flows: Int) throws {
        #expect((0.85...1.1).contains(result.bytesPerSecond / PaceTests.limit))
        #expect(result.streams.count == flows && result.fairness >= 0.9)
        // TCP may probe for an ACK that a busy machine delays.
        #expect((result.retransmits ?? 9) <= 2)
        let stats = try lab.stats()
        #expect(stats.planes == ["pace", "police"])
        #expect(stats.upload.verdict == "throttled" && stats.upload.dropped_packets == 0)
        #expect((stats.upload.retransmitted_segments ?? 9) <= 2)
        #expect(try #require(stats.upload.paced_sockets) >= flows)
        #expect(stats.download.paced_sockets == nil && stats.upload.clamped_sockets == nil)
    }

    @Test(arguments: [1, 4])
    func `upload over veth is sent at its limit and shared equally`(_ flows: Int) throws {
        let network = try NetworkPair(lab)
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 3, "-P", "\(flows)")
        try expectPaced(lab.measure(limiting, from: network.near, to: network.far, client), flows: flows)
    }

    @Test(arguments: [1, 4])
    func `upload over a long link is sent at its limit and shared equally`(_ flows: Int) throws {
        let network = try WideAreaNetwork(lab, roundTrip: 60)
        let client = Iperf3.client(WideAreaNetwork.farAddress, seconds: 3, "-P", "\(flows)")
        try expectPaced(lab.measure(limiting, from: network.near, to: network.far, client), flows: flows)
        for counts in try network.close() { #expect(counts.overflowed == 0) }
    }

    @Test(arguments: ["10.77.0.1", "fd77::1"])
    func `a server's connections are paced too`(_ address: String) throws {
        let network = try NetworkPair(lab)
        let server = try lab.start(network.near.entry + limiting + ["iperf3", "-s", "-1", "--forceflush"])
        try server.waitForOutput("listening")
        let client = try lab.start(
            network.far.entry + Iperf3.client(address, seconds: 2, "-R"), in: lab.helpers
        ).wait()
        #expect(client.ending == .exited(0))
        #expect(try server.wait().ending == .exited(0))
        try expectPaced(Iperf3.Result(client.stdout), flows: 1)
    }

    @Test func `idle connections leave their share to a busy one`() throws {
        let network = try NetworkPair(lab)
        let files = try FileServer(in: network.far, lab, bytes: 1000)
        // Each of them has sent something before it falls silent.
        let script = """
            import http.client, subprocess, sys
            connections = [http.client.HTTPConnection("\(NetworkPair.farAddress)", 8077) for _ in range(8)]
            for connection in connections:
                connection.request("GET", "/file")
                connection.getresponse().read()
            subprocess.run(sys.argv[1:])
            sys.exit(any(connection.sock is None for connection in connections))
            """
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 2)
        let words = limiting + ["/usr/bin/python3", "-c", script]
        try expectPaced(lab.measure(words, from: network.near, to: network.far, client), flows: 1)
        #expect(try #require(lab.stats().upload.paced_sockets) >= 9)
        withExtendedLifetime(files) {}
    }
}
