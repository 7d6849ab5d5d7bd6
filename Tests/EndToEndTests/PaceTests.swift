import Foundation
import Testing

/// TCP's uploads are sent at the limit, and lose nothing to it.
@Suite(.serialized) struct PaceTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private static let limit = 2_000_000.0

    private func report() throws -> Stats {
        try Stats(String(decoding: lab.content("stats"), as: UTF8.self))
    }

    /// The words that limit the uploads of the command which follows, with the report in a file.
    private let limiting = throttle("--up", "2M", "--stats=json", "--stats-file", "stats")

    private func expectPaced(_ result: Iperf3.Result, flows: Int) throws {
        #expect((0.85...1.1).contains(result.bytesPerSecond / PaceTests.limit))
        #expect(result.streams.count == flows && result.fairness >= 0.9)
        #expect(result.retransmits == 0)
        let stats = try report()
        #expect(stats.planes == ["pace", "police"])
        #expect(stats.upload.verdict == "throttled" && stats.upload.dropped_packets == 0)
        #expect(stats.upload.retransmitted_segments == 0)
        #expect(try #require(stats.upload.paced_sockets) >= flows)
        #expect(stats.download.paced_sockets == nil && stats.upload.clamped_sockets == nil)
    }

    @Test(arguments: [1, 4])
    func uploadOverVethIsSentAtItsLimitAndSharedEqually(_ flows: Int) throws {
        let network = try NetworkPair(lab)
        let server = try Iperf3.server(in: network.far, lab)
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 3, "-P", "\(flows)")
        let completed = try lab.run(network.near.entry + limiting + client)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        try expectPaced(Iperf3.Result(completed.stdout), flows: flows)
        _ = try server.wait()
    }

    @Test(arguments: [1, 4])
    func uploadOverALongLinkIsSentAtItsLimitAndSharedEqually(_ flows: Int) throws {
        let network = try WideAreaNetwork(lab, roundTrip: 60)
        let server = try Iperf3.server(in: network.far, lab)
        let client = Iperf3.client(WideAreaNetwork.farAddress, seconds: 3, "-P", "\(flows)")
        let completed = try lab.run(network.near.entry + limiting + client)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        try expectPaced(Iperf3.Result(completed.stdout), flows: flows)
        _ = try server.wait()
        for counts in try network.close() { #expect(counts.overflowed == 0) }
    }

    @Test(arguments: ["10.77.0.1", "fd77::1"])
    func aServersConnectionsArePacedToo(_ address: String) throws {
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

    @Test func idleConnectionsLeaveTheirShareToABusyOne() throws {
        let network = try NetworkPair(lab)
        let files = try FileServer(in: network.far, lab, bytes: 1000)
        let server = try Iperf3.server(in: network.far, lab)
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
        let completed = try lab.run(network.near.entry + limiting + ["/usr/bin/python3", "-c", script] + client)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        try expectPaced(Iperf3.Result(completed.stdout), flows: 1)
        #expect(try #require(report().upload.paced_sockets) >= 9)
        _ = try server.wait()
        withExtendedLifetime(files) {}
    }
}
