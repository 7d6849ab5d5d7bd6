import Background
import TestSupport

/// A run in the background, with all around its control.
final class Run: Sender {
    private(set) var control: YieldControl
    /// What its application would send, bytes per second.
    var demand = Double.infinity
    /// Bytes that others moved on the device.
    var others = 0.0
    /// The largest rate that was ever set.
    private(set) var largestRate = 0.0
    private let connections: Double
    /// Seconds until a new rate takes effect; losses aren't seen either then, as with a download.
    private let lag: Double
    /// Seconds that a round trip takes longer for itself, on average.
    private let noise: Double
    private var random: SeededGenerator
    private var rate: Double
    private var coming: [(time: Double, rate: Double)] = []
    private var credit = 0.0
    private var (last, next) = (0.0, 0.0)
    private var nextSample = 0.0
    private var base = Double.infinity
    private var seen = (bytes: 0.0, losses: 0.0, roundTrip: Double.infinity, samples: 0)

    init(
        ceiling: UInt64? = nil, connections: Double = 2, lag: Double = 0, noise: Double = 0.001, seed: UInt64 = 1
    ) {
        control = YieldControl(ceiling: ceiling)
        rate = Double(control.rate)
        (self.connections, self.lag, self.noise) = (connections, lag, noise)
        random = SeededGenerator(seed: seed)
        next = Double.random(in: 0..<YieldControl.period, using: &random)
    }

    override func send(at now: Double, tick: Double) -> Double {
        if now >= next { step(at: now) }
        while let change = coming.first, now >= change.time {
            rate = change.rate
            coming.removeFirst()
        }
        let paced = min(rate, demand) * tick
        credit = min(credit + paced, max(2 * packet, 2 * paced))
        let packets = (credit / packet).rounded(.down)
        credit -= packets * packet
        return packets * packet
    }

    override func acknowledged(_ bytes: Double, roundTrip: Double, at now: Double) {
        seen.bytes += bytes
        // Each connection measures once a round trip.
        guard now >= nextSample else { return }
        nextSample = now + roundTrip / connections
        var sample = roundTrip + noise * Double.random(in: 0...2, using: &random)
        if random.next() % 64 == 0 { sample += 0.03 }
        base = min(base, sample)
        seen.roundTrip = min(seen.roundTrip, sample)
        seen.samples += 1
    }

    override func lost(_ bytes: Double, at now: Double) { seen.losses += bytes / packet }

    private func step(at now: Double) {
        let delay = Delay(queueing: seen.roundTrip - base, base: base, samples: seen.samples)
        let rate = control.step(
            Observation(
                bytes: UInt64(seen.bytes), seconds: now - last, delay: seen.samples > 0 ? delay : nil,
                losses: lag > 0 ? 0 : UInt64(seen.losses), othersBytes: UInt64(others)))
        largestRate = max(largestRate, Double(rate))
        coming.append((now + lag, Double(rate)))
        (last, next) = (now, next + YieldControl.period)
        (seen, others) = ((0, 0, .infinity, 0), 0)
    }
}
