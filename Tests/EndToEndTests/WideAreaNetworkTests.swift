import Foundation
import Testing

/// The emulated long link itself: what tests find over it rests on these.
@Suite(.serialized) struct WideAreaNetworkTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    /// Round trips in ms of the pings that were answered, and their numbers as they came in.
    private func ping(
        _ network: WideAreaNetwork, _ address: String, count: Int, interval: Double
    ) throws -> (times: [Double], sequence: [Int]) {
        let words = ["busybox", "ping", "-c", "\(count)", "-i", "\(interval)", "-W", "1", address]
        let lines = try lab.run(network.near.entry + words).stdout.matches(of: /seq=([0-9]+) .* time=([0-9.]+) ms/)
        return (lines.compactMap { Double($0.2) }, lines.compactMap { Int($0.1) })
    }

    @Test(arguments: [20.0, 150], [true, false])
    func `packets take the round trip and keep their order`(_ roundTrip: Double, _ ethernet: Bool) throws {
        let network = try WideAreaNetwork(lab, roundTrip: roundTrip, ethernet: ethernet)
        for address in [WideAreaNetwork.farAddress, WideAreaNetwork.farAddress6] {
            let answers = try ping(network, address, count: 50, interval: 0.01)
            #expect(answers.sequence == Array(0..<50))
            #expect(answers.times.allSatisfy { $0 >= roundTrip })
            // Not its median: this machine may be busy.
            #expect(try #require(answers.times.min()) < roundTrip + 5)
        }
        for counts in try network.close() {
            #expect(counts.packets >= 100)
            #expect(counts.lost == 0 && counts.overflowed == 0 && counts.failed == 0)
        }
    }

    @Test func `each direction loses its share`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 2, loss: 0.05)
        let answers = try ping(network, WideAreaNetwork.farAddress, count: 2000, interval: 0.002)
        let counts = try network.close()
        for direction in counts {
            #expect((0.03...0.075).contains(Double(direction.lost) / Double(direction.packets)))
            #expect(direction.overflowed == 0 && direction.failed == 0)
        }
        // What was lost is what didn't come: 0.95 of 0.95, as answers get lost too.
        #expect((0.85...0.95).contains(Double(answers.sequence.count) / 2000))
        #expect(answers.sequence == answers.sequence.sorted())
    }

    @Test(arguments: [1_000_000, 5_000_000] as [UInt64], [false, true])
    func `the bottleneck passes its rate`(_ rate: UInt64, _ isDownload: Bool) throws {
        let network = try WideAreaNetwork(lab, roundTrip: 20, rate: rate)
        let received = try throughput(network, isDownload)
        // Packets of 1514 bytes carry 1448.
        #expect((0.9...1.02).contains(received / Double(rate)))
        for counts in try network.close() { #expect(counts.lost == 0 && counts.failed == 0) }
    }

    @Test func `without bottleneck the link is fast and drops nothing`() throws {
        let network = try WideAreaNetwork(lab, roundTrip: 20)
        #expect(try throughput(network, true) > 50_000_000)
        for counts in try network.close() {
            #expect(counts.lost == 0 && counts.overflowed == 0 && counts.failed == 0)
        }
    }

    /// Bytes per second that one TCP connection gets across.
    private func throughput(_ network: WideAreaNetwork, _ isDownload: Bool) throws -> Double {
        let server = try lab.start(network.far.entry + ["iperf3", "-s", "--forceflush"], in: lab.helpers)
        try server.waitForOutput("listening")
        // The first second fills the buffers.
        let words = ["iperf3", "-c", WideAreaNetwork.farAddress, "-J", "-t", "3", "-O", "1"]
        let completed = try lab.run(network.near.entry + words + (isDownload ? ["-R"] : []))
        let result = try JSONDecoder().decode(Result.self, from: Data(completed.stdout.utf8))
        return result.end.sum_received.bits_per_second / 8
    }

    private struct Result: Decodable {
        struct End: Decodable { let sum_received: Sum }
        struct Sum: Decodable { let bits_per_second: Double }
        let end: End
    }
}
