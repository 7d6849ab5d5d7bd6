import Foundation
import Testing

/// What windows do for downloads: without a queue they keep the sender near the limit, with one they keep it short.
@Suite(.serialized) struct WindowTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    @Test(arguments: zip([WideAreaNetwork.farAddress, WideAreaNetwork.farAddress6], ["cubic", "bbr"]))
    func `policed download over a long link loses next to nothing`(_ address: String, _ congestionControl: String)
        throws
    {
        let network = try WideAreaNetwork(lab, roundTrip: 60)
        let words = throttle("--mode", "police", "--down", "2M", "--stats=json", "--stats-file", "stats")
        let client = Iperf3.client(address, seconds: 3, "-R", "-C", congestionControl)
        let result = try lab.measure(words, from: network.near, to: network.far, client)
        #expect((0.85...1.1).contains(result.bytesPerSecond / 2_000_000))
        let stats = try lab.stats()
        #expect(stats.mode == "police" && stats.planes == ["police", "window"])
        #expect(try #require(stats.download.clamped_sockets) >= 1)
        #expect(stats.download.verdict == "throttled")
        // Segments of 1448 bytes at most.
        let segments = Double(stats.download.passed_payload_bytes) / 1448
        #expect(try Double(#require(result.retransmits)) <= 0.01 * segments)
    }

    @Test func `requests beside a download do not wait behind all of it`() throws {
        let network = try NetworkPair(lab)
        let files = try FileServer(in: network.far, lab, bytes: 1000)
        let server = try Iperf3.server(in: network.far, lab)
        let script = """
            import subprocess, sys, time, urllib.request
            download = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)
            time.sleep(1.5)
            for _ in range(10):
                began = time.monotonic()
                urllib.request.urlopen(sys.argv[1]).read()
                print(time.monotonic() - began, download.poll() is None, flush=True)
            sys.exit(download.wait())
            """
        let words = ["/usr/bin/python3", "-c", script, files.url(NetworkPair.farAddress)]
        let limiting = throttle("--down", "500k", "--stats=json", "--stats-file", "stats")
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 4, "-R")
        let completed = try lab.run(network.near.entry + limiting + words + client)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        // Each is a handshake and an answer: two waits in a queue of some 100 ms.
        let lines = completed.stdout.split(separator: "\n").map { $0.split(separator: " ") }
        #expect(lines.count == 10)
        let during = lines.filter { $0.last == "True" }.compactMap { $0.first.flatMap { Double($0) } }.sorted()
        #expect(during.count >= 5 && during[during.count / 2] <= 0.5)
        let stats = try lab.stats()
        #expect(stats.planes == ["police", "shape", "window"] && stats.download.dropped_packets == 0)
        #expect(try (0.85...1.1).contains(#require(stats.download.achieved_ratio)))
        _ = try server.wait()
    }
}
