import Foundation
import Testing

/// A run that takes only what nobody else wants.
@Suite(.serialized) struct BackgroundTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    /// 20 Mbit/s, in bytes a second.
    private static let line: UInt64 = 2_500_000

    private struct Intervals: Decodable {
        struct Interval: Decodable {
            struct Sum: Decodable { let bits_per_second: Double }
            let sum: Sum
        }
        let intervals: [Interval]

        /// Parts of the line in half seconds.
        var shares: [Double] { intervals.map { $0.sum.bits_per_second / 8 / Double(BackgroundTests.line) } }
    }

    private func client(_ port: Int, seconds: Int, _ options: [String]) -> [String] {
        ["iperf3", "-c", WideAreaNetwork.farAddress, "-p", "\(port)", "-t", "\(seconds)", "-i", "0.5", "-J"] + options
    }

    private func shares(_ text: String) throws -> [Double] {
        try JSONDecoder().decode(Intervals.self, from: Data(text.utf8)).shares
    }

    private func average(_ shares: some Collection<Double>) -> Double {
        shares.reduce(0, +) / Double(max(1, shares.count))
    }

    /// Others are in another cgroup of this machine, and their device is the run's.
    @Test(arguments: [["-R"], []])
    func `it has the line alone, gives way, and comes back`(_ direction: [String]) throws {
        let network = try WideAreaNetwork(lab, roundTrip: 20, rate: BackgroundTests.line, buffer: 200)
        let servers = try [5201, 5202].map { try Iperf3.server(in: network.far, lab, "-p", "\($0)") }
        defer { for server in servers { server.send(SIGKILL) } }
        let words = throttle("--background", "--stats=json", "--stats-file", "stats")
        let run = try lab.start(network.near.entry + words + client(5201, seconds: 26, direction))
        try #require(poll { (try? lab.require([throttlePath, "list"]))?.contains("iperf3") == true })
        Thread.sleep(forTimeInterval: 10)
        let other = try lab.start(network.near.entry + client(5202, seconds: 6, direction), in: lab.helpers)
        let others = try shares(try other.wait().stdout)
        let own = try shares(try run.wait().stdout)
        // Of 0.95 that can be payload.
        #expect(average(own[14..<20]) > 0.4, "\(own)")
        #expect(average(others.dropFirst(4)) > 0.8, "\(others)")
        #expect(average(own[24..<32]) < 0.2, "\(own)")
        #expect(average(own.suffix(6)) > 0.3, "\(own)")
        let stats = try Stats(String(decoding: lab.content("stats"), as: UTF8.self))
        let background = try #require(stats.background)
        #expect((0.018...0.06).contains(background.base_seconds), "\(background)")
        #expect((direction == [] ? background.upload_yields : background.download_yields) >= 1)
        #expect(stats.download.dropped_packets == 0 && stats.upload.dropped_packets == 0)
    }

    @Test func `a limit is its ceiling`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 20, rate: BackgroundTests.line, buffer: 200)
        let server = try Iperf3.server(in: network.far, lab)
        defer { server.send(SIGKILL) }
        let words = throttle("--background", "-d", "500k")
        let text = try lab.require(
            network.near.entry + words + client(5201, seconds: 8, ["-R"]))
        let share = average(try shares(text).suffix(6)) * Double(BackgroundTests.line) / 500_000
        // On a busy machine round trips vary for themselves.
        #expect((0.2...1.05).contains(share), "\(share)")
    }

    /// Police holds the ceiling there, but not what waited in the queue while the rate fell.
    @Test func `what doesn't come through the queue has no more than the ceiling`() throws {
        let network = try NetworkPair(lab)
        let server = try Iperf3.server(in: network.far, lab)
        defer { server.send(SIGKILL) }
        let words = throttle("--background", "-d", "100k", "--stats=json", "--stats-file", "stats")
        // Of two fragments each.
        let datagrams = ["iperf3", "-c", NetworkPair.farAddress, "-u", "-l", "2800", "-b", "6M", "-R", "-t", "4"]
        _ = try lab.run(network.near.entry + words + datagrams)
        let stats = try Stats(String(decoding: lab.content("stats"), as: UTF8.self))
        // Fragments count as others', too.
        #expect((0.001...1.2).contains(stats.download.achieved_ratio ?? 0), "\(stats.download)")
    }

    @Test func `what doesn't go together is refused`() throws {
        let refused = try lab.run([throttlePath, "run", "--background", "--mode", "police", "--", "true"])
        #expect(refused.ending == .exited(125) && refused.stderr.contains("--background"))
        #expect(lab.cgroup.children == [])
    }

    @Test func `it is turned off and on again`() throws {
        let run = try lab.start(throttle("--background", "--name", "backup") + ["sleep", "30"])
        defer { run.send(SIGTERM) }
        func isYielding() -> Bool? {
            (try? lab.require([throttlePath, "stats", "backup"])).map { $0.contains("background: ") }
        }
        #expect(poll { isYielding() == true })
        try lab.require([throttlePath, "set", "backup", "--no-background"])
        #expect(isYielding() == false)
        try lab.require([throttlePath, "set", "backup", "--background"])
        #expect(isYielding() == true)
        let other = try lab.start(throttle("-d", "1M", "--name", "other") + ["sleep", "30"])
        defer { other.send(SIGTERM) }
        #expect(poll { (try? lab.require([throttlePath, "stats", "other"])) != nil })
        let refused = try lab.run([throttlePath, "set", "other", "--background"])
        #expect(refused.ending == .exited(125) && refused.stderr.contains("wasn't begun with --background"))
    }

    @Test func `one of a group gives way within its share`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 20, rate: BackgroundTests.line, buffer: 200)
        let server = try Iperf3.server(in: network.far, lab)
        defer { server.send(SIGKILL) }
        let words = throttle("--background", "-g", "quiet", "-d", "400k", "--stats=json", "--stats-file", "stats")
        let text = try lab.require(network.near.entry + words + client(5201, seconds: 7, ["-R"]))
        let share = average(try shares(text).suffix(4)) * Double(BackgroundTests.line) / 400_000
        #expect((0.3...1.1).contains(share), "\(share)")
        #expect(try Stats(String(decoding: lab.content("stats"), as: UTF8.self)).background != nil)
    }
}
