import Foundation
import Kernel
import Testing

@testable import Devices

/// What a queue does to traffic that loopback is redirected to it.
@Suite(.serialized) struct TrafficTests {
    // Not faster: at 100 MB/s it measures what else the machine does; make bench has those figures.
    @Test(arguments: [(UInt64(50_000), 458), (5_000_000, 1472)])
    func `a queue holds its rate, and another one right after a change`(rate: UInt64, datagram: Int) async {
        await #expect(processExitsWith: .success) { [rate, datagram] in
            try enterNamespace()
            let queue = try Queue(named: "q", in: .current(), alias: "", rate: rate, log: .silent)
            try Load.feed(queue)
            var load = try Load(datagram: datagram, tcp: false)
            _ = load.run(0.3, rate: 8 * Double(rate))
            for rate in [rate, rate / 2, rate * 2] {
                try queue.setRate(rate)
                let before = try queue.statistics()
                let seconds = load.run(1, rate: 2.5 * Double(rate))
                let after = try queue.statistics()
                let ratio = Double(after.rest.passedBytes - before.rest.passedBytes) / seconds / Double(rate)
                // 0.99 to 1.01 where nothing else runs.
                #expect((0.8...1.25).contains(ratio), "\(rate): \(ratio)")
                #expect(after.rest.queuedBytes > 0 && after.rest.queuedPackets > 0)
                #expect(after.rest.droppedPackets > before.rest.droppedPackets)
                #expect(after.tcp == QueueStatistics.Leaf())
            }
        }
    }

    @Test func `TCP and the rest share the rate equally`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let rate: UInt64 = 10_000_000
            let queue = try Queue(named: "q", in: .current(), alias: "", rate: rate, log: .silent)
            try Load.feed(queue)
            var load = try Load(datagram: 1472, tcp: true)
            _ = load.run(0.5, rate: 1.5 * Double(rate))
            let before = try queue.statistics()
            let seconds = load.run(1.5, rate: 1.5 * Double(rate))
            let after = try queue.statistics()
            let shares = [
                after.tcp.passedBytes - before.tcp.passedBytes, after.rest.passedBytes - before.rest.passedBytes,
            ].map { Double($0) / seconds / Double(rate) }
            #expect((0.96...1.04).contains(shares[0] + shares[1]), "\(shares)")
            #expect((0.44...0.56).contains(shares[0]), "\(shares)")
            #expect(after.tcp.droppedPackets == 0)
        }
    }
}
