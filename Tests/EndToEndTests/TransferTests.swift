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

    @Test(
        arguments: ["wget", "curl"], [NetworkPair.farAddress, NetworkPair.farAddress6])
    func downloadOverVethIsWholeAndHoldsItsLimit(_ tool: String, _ address: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 1_000_000)
        let completed = try lab.run(
            network.near.entry + throttle("--down", "200k", "--stats=json") + fetch(tool, server.url(address)))
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        let stats = try Stats(completed.stderr)
        let ratio = try #require(stats.download.achieved_ratio)
        #expect((0.85...1.10).contains(1_000_000 / completed.seconds / 200_000))
        #expect((0.85...1.10).contains(ratio))
        #expect(stats.download.verdict == "throttled" && stats.download.dropped_packets > 0)
        #expect(stats.download.passed_payload_bytes >= 1_000_000)
        #expect(stats.upload.verdict == "unlimited" && stats.upload.dropped_packets == 0)
    }

    @Test(arguments: ["wget", "curl"], ["127.0.0.1", "::1"])
    func downloadOverLoopbackIsWholeAndHoldsItsLimit(_ tool: String, _ address: String) throws {
        let server = try FileServer(in: network.near, lab, bytes: 600_000)
        let completed = try lab.run(
            network.near.entry + throttle("--down", "300k", "--stats=json") + fetch(tool, server.url(address)))
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        // A loopback packet can be worth 0.2 s here, and the burst is another 0.2 s of these 2 s.
        #expect((0.7...1.25).contains(600_000 / completed.seconds / 300_000))
        #expect(try Stats(completed.stderr).download.verdict == "throttled")
    }

    @Test(arguments: [NetworkPair.farAddress, NetworkPair.farAddress6])
    func uploadIsWholeAndHoldsItsLimit(_ address: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 1_000_000)
        let completed = try lab.run(
            network.near.entry + throttle("--up", "250k", "--stats=json") + [
                "curl", "-sSgf", "-T", "served/file", server.url(address, "uploaded/copy"),
            ])
        #expect(completed.ending == .exited(0))
        #expect(try server.uploaded("copy") == server.content)
        // Whole GSO packets are dropped and sent again after a time-out: policing alone can't fill the limit.
        #expect((0.6...1.10).contains(1_000_000 / completed.seconds / 250_000))
        let stats = try Stats(completed.stderr)
        #expect(stats.upload.verdict == "throttled" && stats.upload.dropped_packets > 0)
        #expect(stats.download.verdict == "unlimited")
    }

    @Test func bothDirectionsAtOnceHoldTheirOwnLimits() throws {
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
        // ACKs share the way with whole dropped GSO packets, which makes policing alone less even.
        #expect((0.6...1.10).contains(800_000 / completed.seconds / 200_000))
        // The report measures to the last packet, and ACKs go on while the download lasts.
        #expect((800_000..<1_000_000).contains(stats.upload.passed_payload_bytes))
        #expect(stats.upload.verdict == "throttled" && stats.download.verdict == "throttled")
    }

    @Test(arguments: [NetworkPair.farAddress, NetworkPair.farAddress6])
    func tinyUploadLimitDoesNotStrangleADownload(_ address: String) throws {
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
        #expect(stats.upload.passed_wire_bytes > 10_000)
    }

    @Test func countingWireChargesHeadersToo() throws {
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
            let ratio = try #require(stats.download.achieved_ratio)
            #expect((0.8...1.15).contains(ratio), "\(count)")
            seconds[count] = completed.seconds
        }
        let slowdown = try #require(seconds["wire"]) / #require(seconds["payload"])
        #expect(slowdown > 1.15)
    }

    @Test func oneKilobytePerSecondDoesNotStall() throws {
        let server = try FileServer(in: network.far, lab, bytes: 12_000)
        let fetching = fetch("wget", server.url(NetworkPair.farAddress))
        let completed = try lab.run(network.near.entry + throttle("--down", "1k", "--stats=json") + fetching)
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        // The last packet passes into debt: one of GRO's can be the whole first window.
        #expect((0.5...2.0).contains(12_000 / completed.seconds / 1_000))
        #expect(try Stats(completed.stderr).download.verdict == "throttled")
    }

    @Test func limitFarAboveTheLinkCostsLittle() throws {
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
        #expect(try #require(best[true]) <= 2 * #require(best[false]))
    }
}
