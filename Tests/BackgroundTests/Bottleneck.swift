import TestSupport
import Testing

/// Bytes of a packet.
let packet = 1500.0

/// What all packets pass: bytes per second, seconds of a round trip without a queue, and seconds of queue that it holds.
struct Path: CustomTestStringConvertible {
    var rate: Double
    var base: Double
    var buffer: Double

    /// The delays in milliseconds.
    init(megabits: Double, base: Double, buffer: Double) {
        (rate, self.base, self.buffer) = (megabits * 125_000, base / 1000, buffer / 1000)
    }

    var testDescription: String {
        "\(rate / 125_000) Mbit/s, \(base * 1000) ms, buffer of \(buffer * 1000) ms"
    }
}

/// Who sends over it. What was sent comes back, acknowledged or lost, a round trip later.
class Sender {
    fileprivate(set) var inFlight = 0.0
    fileprivate(set) var delivered = 0.0

    /// Bytes to send in this tick.
    func send(at now: Double, tick: Double) -> Double { 0 }
    func acknowledged(_ bytes: Double, roundTrip: Double, at now: Double) {}
    func lost(_ bytes: Double, at now: Double) {}
}

/// A bottleneck with one queue, first in first out, whose buffer drops what doesn't fit. Bytes flow in ticks; losses are of
/// whole packets, and whose is chance.
final class Bottleneck {
    static let tick = 0.002

    let path: Path
    /// May change on the way: bytes per second, and seconds that the route is longer.
    var rate: Double
    var detour = 0.0
    private(set) var now = 0.0
    private var queue = 0.0
    private var flows: [Flow] = []
    private var random: SeededGenerator
    private var excess = 0.0
    private var ticks = 0

    /// What comes back, by tick.
    private struct Flow {
        let sender: Sender
        let isLocal: Bool
        var isOver = false
        var acknowledged: [Double]
        var roundTrips: [Double]
        var lost: [Double]
    }

    init(_ path: Path, seed: UInt64 = 1) {
        self.path = path
        rate = path.rate
        random = SeededGenerator(seed: seed)
    }

    /// Seconds that a packet waits now.
    var queueing: Double { queue / rate }

    /// `isLocal`: of the same machine, so that its device counts the bytes.
    func start(_ sender: Sender, isLocal: Bool = false) {
        let none = [Double](repeating: 0, count: Int(4 / Bottleneck.tick))
        flows.append(Flow(sender: sender, isLocal: isLocal, acknowledged: none, roundTrips: none, lost: none))
    }

    func end(_ sender: Sender) {
        for index in flows.indices where flows[index].sender === sender { flows[index].isOver = true }
    }

    func run(for seconds: Double, each: () -> Void = {}) {
        for _ in 0..<Int(seconds / Bottleneck.tick) {
            advance()
            each()
        }
    }

    /// Of the path's rate, what the sender gets in the next `seconds`.
    func share(of sender: Sender, for seconds: Double) -> Double {
        let before = sender.delivered
        run(for: seconds)
        return (sender.delivered - before) / seconds / path.rate
    }

    private func advance() {
        queue = max(0, queue - rate * Bottleneck.tick)
        let sent = flows.indices.map(exchange)
        let losses = drop(of: sent)
        let delay = path.base + detour + queueing
        for index in flows.indices where sent[index] > 0 {
            let slots = flows[index].lost.count
            let slot = (ticks + min(max(1, Int(delay / Bottleneck.tick + 0.5)), slots - 1)) % slots
            flows[index].acknowledged[slot] += sent[index] - losses[index]
            flows[index].roundTrips[slot] = delay
            flows[index].lost[slot] += losses[index]
            queue += sent[index] - losses[index]
        }
        for case let (index, run as Run) in flows.map(\.sender).enumerated() {
            for other in flows.indices where other != index && flows[other].isLocal { run.others += sent[other] }
        }
        ticks += 1
        now = Double(ticks) * Bottleneck.tick
    }

    /// Gives the sender what came back. Returns what it sends.
    private func exchange(_ index: Int) -> Double {
        let sender = flows[index].sender
        let slot = ticks % flows[index].lost.count
        let (bytes, lost) = (flows[index].acknowledged[slot], flows[index].lost[slot])
        (flows[index].acknowledged[slot], flows[index].lost[slot]) = (0, 0)
        sender.inFlight -= bytes + lost
        sender.delivered += bytes
        if bytes > 0 { sender.acknowledged(bytes, roundTrip: flows[index].roundTrips[slot], at: now) }
        if lost > 0 { sender.lost(lost, at: now) }
        let sent = flows[index].isOver ? 0 : sender.send(at: now, tick: Bottleneck.tick)
        sender.inFlight += sent
        return sent
    }

    /// Returns the bytes that are lost of what each sent.
    private func drop(of sent: [Double]) -> [Double] {
        var losses = [Double](repeating: 0, count: sent.count)
        let total = sent.reduce(0, +)
        excess += max(0, min(total, queue + total - rate * path.buffer))
        while excess >= packet {
            var point = Double.random(in: 0..<total, using: &random)
            let index =
                sent.firstIndex {
                    point -= $0; return point < 0
                } ?? 0
            losses[index] = min(losses[index] + packet, sent[index])
            excess -= packet
        }
        return losses
    }
}
