import Foundation
import Testing

/// Real transfers under a limit: whole content, and the rate. One at a time, as they would disturb each other.
@Suite(.serialized) struct TransferTests {
    let lab: Lab
    let network: NetworkPair

    init() throws {
        lab = try Lab()
        network = try NetworkPair(lab)
    }

    /// Fetches `url` into the file `copy`.
    private func fetch(_ tool: String, _ url: String) -> [String] {
        tool == "wget" ? ["wget", "-q", "-O", "copy", url] : ["curl", "-sSgf", "-o", "copy", url]
    }

    /// Nothing is lost, and the limit is filled. Where the command doesn't wait for the guard, police may have to hold a
    /// download that is faster than that.
    private func expectExact(_ traffic: Stats.Traffic, fromItsStart: Bool = true) {
        #expect(traffic.verdict == "throttled")
        #expect(fromItsStart ? traffic.dropped_packets == 0 : traffic.dropped_packets < 20)
        // Beside an upload, ACKs wait in the download's queue.
        #expect(((fromItsStart ? 0.93 : 0.88)...1.07).contains(traffic.achieved_ratio ?? 0), "\(traffic)")
    }

    @Test(arguments: ["auto", "shape"], [NetworkPair.farAddress, NetworkPair.farAddress6])
    func `download over veth is whole and holds its limit`(_ mode: String, _ address: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 1_000_000)
        let options = throttle("--down", "200k", "--mode", mode, "--stats=json")
        let completed = try lab.run(network.near.entry + options + fetch("curl", server.url(address)))
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        let stats = try Stats(completed.stderr)
        #expect((0.9...1.1).contains(1_000_000 / completed.seconds / 200_000))
        expectExact(stats.download, fromItsStart: mode == "shape")
        #expect(stats.mode == mode && stats.planes == ["police", "shape", "window"] && stats.shape_obstacle == nil)
        #expect(stats.download.queue_dropped_packets == 0)
        // The windows keep the queue at 100 ms.
        #expect((0.001...0.3).contains(stats.download.queue_delay_average_seconds ?? 0))
        #expect(stats.download.passed_payload_bytes >= 1_000_000)
        #expect(stats.upload.verdict == "unlimited" && stats.upload.dropped_packets == 0)
    }

    @Test(
        arguments: ["wget", "curl"], [NetworkPair.farAddress, NetworkPair.farAddress6])
    func `policed download is whole and holds its limit`(_ tool: String, _ address: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 1_000_000)
        let options = throttle("--down", "200k", "--mode", "police", "--stats=json")
        let completed = try lab.run(network.near.entry + options + fetch(tool, server.url(address)))
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        let stats = try Stats(completed.stderr)
        #expect(stats.mode == "police" && stats.planes == ["police", "window"])
        let ratio = try #require(stats.download.achieved_ratio)
        // Mostly 0.96 to 1.06; each time-out that TCP doubles because a segment was lost twice costs 0.04.
        #expect((0.75...1.10).contains(1_000_000 / completed.seconds / 200_000))
        #expect((0.75...1.10).contains(ratio))
        #expect(stats.download.verdict == "throttled" && stats.download.clamped_sockets == 1)
    }

    @Test(arguments: ["wget", "curl"], ["127.0.0.1", "::1"])
    func `download over loopback is whole and holds its limit`(_ tool: String, _ address: String) throws {
        let server = try FileServer(in: network.near, lab, bytes: 600_000)
        let completed = try lab.run(
            network.near.entry + throttle("--down", "300k", "--mode", "shape", "--stats=json")
                + fetch(tool, server.url(address)))
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        #expect((0.85...1.15).contains(600_000 / completed.seconds / 300_000))
        expectExact(try Stats(completed.stderr).download)
    }

    @Test(arguments: [NetworkPair.farAddress, NetworkPair.farAddress6])
    func `upload is whole and holds its limit`(_ address: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 1_000_000)
        let completed = try lab.run(
            network.near.entry + throttle("--up", "250k", "--stats=json") + [
                "curl", "-sSgf", "-T", "served/file", server.url(address, "uploaded/copy"),
            ])
        #expect(completed.ending == .exited(0))
        #expect(try server.uploaded("copy") == server.content)
        #expect((0.85...1.10).contains(1_000_000 / completed.seconds / 250_000))
        let stats = try Stats(completed.stderr)
        expectExact(stats.upload)
        #expect(stats.planes == ["pace", "police"])
        #expect(stats.upload.paced_sockets == 1 && stats.upload.retransmitted_segments == 0)
        #expect(stats.download.verdict == "unlimited")
    }

    /// Before the guard has set up pacing, and where TCP sends more at once, what is over the limit is TCP's to keep.
    @Test func `many uploads at once lose nothing`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 100_000)
        let url = server.url(NetworkPair.farAddress, "uploaded/copy")
        let script = "for i in 1 2 3 4 5 6 7 8; do curl -sSf -T served/file \(url)$i & done; wait"
        let completed = try lab.run(
            network.near.entry + throttle("--up", "200k", "--stats=json") + ["sh", "-c", script])
        #expect(completed.ending == .exited(0))
        for number in 1...8 { #expect(try server.uploaded("copy\(number)") == server.content) }
        let upload = try Stats(completed.stderr).upload
        expectExact(upload)
        #expect(upload.paced_sockets == 8 && upload.retransmitted_segments == 0)
    }

    @Test func `both directions at once hold their own limits`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 800_000)
        let script = """
            curl -sSf -o copy \(server.url(NetworkPair.farAddress)) &
            curl -sSf -T served/file \(server.url(NetworkPair.farAddress, "uploaded/copy")); wait
            """
        let completed = try lab.run(
            network.near.entry + throttle("-d", "200k", "-u", "400k", "--stats=json") + ["sh", "-c", script])
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        #expect(try server.uploaded("copy") == server.content)
        let stats = try Stats(completed.stderr)
        expectExact(stats.download, fromItsStart: false)
        #expect((0.9...1.10).contains(800_000 / completed.seconds / 200_000))
        // The report measures to the last packet, and ACKs go on while the download lasts.
        #expect((800_000..<1_000_000).contains(stats.upload.passed_payload_bytes))
        #expect(stats.upload.verdict == "throttled" && stats.upload.dropped_packets == 0)
    }

    @Test(arguments: [NetworkPair.farAddress, NetworkPair.farAddress6])
    func `tiny upload limit does not strangle a download`(_ address: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 20_000_000)
        let fetching = fetch("curl", server.url(address))
        // The request alone is worth some 100 ms; the ACKs of 20 MB would be worth minutes.
        let completed = try lab.run(network.near.entry + throttle("--up", "1k", "--stats=json") + fetching)
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        #expect(completed.seconds < 5)
        let stats = try Stats(completed.stderr)
        #expect(stats.upload.dropped_packets == 0)
        #expect(stats.upload.passed_payload_bytes < 1000)
        // Several seconds worth of the limit. How many there are depends on how many segments the device joins.
        #expect(stats.upload.passed_wire_bytes > 5000)
    }

    @Test func `counting wire charges headers too`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 600_000)
        let fetching = fetch("curl", server.url(NetworkPair.farAddress))
        // Small segments: 200 bytes of payload come in frames of 266.
        try lab.require(["ip", "-n", network.near.name, "link", "set", "veth0", "mtu", "1500"])
        try lab.require([
            "ip", "-n", network.far.name, "route", "replace", "10.77.0.0/24", "dev", "veth0", "advmss", "200",
        ])
        try lab.require([
            "ip", "-n", network.near.name, "route", "replace", "10.77.0.0/24", "dev", "veth0", "advmss", "200",
        ])
        var seconds: [String: Double] = [:]
        for count in ["payload", "wire"] {
            let completed = try lab.run(
                network.near.entry + throttle("--down", "300k", "--count", count, "--stats=json") + fetching)
            let stats = try Stats(completed.stderr)
            #expect(completed.ending == .exited(0) && stats.count == count)
            #expect(Double(stats.download.passed_wire_bytes) > 1.2 * Double(stats.download.passed_payload_bytes))
            expectExact(stats.download, fromItsStart: false)
            seconds[count] = completed.seconds
        }
        let slowdown = try #require(seconds["wire"]) / #require(seconds["payload"])
        #expect(slowdown > 1.15)
    }

    @Test func `one kilobyte per second does not stall`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 12_000)
        let fetching = fetch("wget", server.url(NetworkPair.farAddress))
        let completed = try lab.run(
            network.near.entry + throttle("--down", "1k", "--mode", "shape", "--stats=json") + fetching)
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        #expect((0.8...1.2).contains(12_000 / completed.seconds / 1_000))
        let download = try Stats(completed.stderr).download
        // The queue may be ahead by a frame (HTB's burst), the police by 200 bytes.
        #expect(download.verdict == "throttled" && download.dropped_packets < 6)
    }

    @Test func `limit far above the link costs little`() throws {
        let server = try FileServer(in: network.far, lab, bytes: 100_000_000)
        let fetching = ["curl", "-sSf", "-o", "/dev/null", server.url(NetworkPair.farAddress)]
        var best: [Bool: Double] = [:]
        for _ in 0..<5 {
            for isLimited in [false, true] {
                let prefix = isLimited ? throttle("-d", "100GB/s", "-u", "100GB/s") : []
                let completed = try lab.run(network.near.entry + prefix + fetching)
                #expect(completed.ending == .exited(0) && completed.stderr == "")
                best[isLimited] = min(best[isLimited] ?? .infinity, completed.seconds)
            }
        }
        // The other suites run beside it: make bench has the figure.
        #expect(try #require(best[true]) <= 4 * #require(best[false]))
    }
}
