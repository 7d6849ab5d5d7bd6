import Programs
import TestSupport
import Testing

@testable import Planes

/// A queue that holds frames to the control's rate, and the packets that pass it.
private struct Shaped {
    private(set) var control: QueueControl
    private(set) var counters = Counters()
    private let step: Double

    init(limit: UInt64, counting: Counting = .payload, step: Double = 0.1) {
        control = QueueControl(limit: limit, counting: counting)
        self.step = step
    }

    /// Packets of this payload and these headers wait for `seconds`. Returns the bytes of payload and of frames.
    @discardableResult
    mutating func run(
        _ seconds: Double, payload: Double = 1448, headers: Double = 66, leak: Double = 0, isWaiting: Bool = true
    ) -> (payload: Double, wire: Double) {
        let before = counters
        for _ in 0..<Int(seconds / step) {
            let wire = (Double(control.rate) + leak) * step
            counters.passedWireBytes += UInt64(wire)
            counters.passedPayloadBytes += UInt64(wire * payload / (payload + headers))
            _ = control.step(counters, isWaiting: isWaiting, seconds: step)
        }
        return (
            Double(counters.passedPayloadBytes - before.passedPayloadBytes),
            Double(counters.passedWireBytes - before.passedWireBytes)
        )
    }
}

@Suite struct QueueControlTests {
    private static let limits: [UInt64] = [10_000, 50_000, 5_000_000, 10_000_000_000, 1 << 50]

    @Test(arguments: limits, [(1448.0, 66.0), (458, 42), (60_000, 66), (9000, 78)])
    func `the limit holds for payload, whatever the headers`(limit: UInt64, packet: (payload: Double, headers: Double))
    {
        var queue = Shaped(limit: limit)
        let all = queue.run(20, payload: packet.payload, headers: packet.headers).payload
        #expect(abs(all / (20 * Double(limit)) - 1) < 0.01)
        let last = queue.run(5, payload: packet.payload, headers: packet.headers).payload
        #expect(abs(last / (5 * Double(limit)) - 1) < 0.003)
    }

    @Test(arguments: limits, [1448.0, 100, 1])
    func `on the wire the rate stays at the limit`(limit: UInt64, payload: Double) {
        var queue = Shaped(limit: limit, counting: .wire)
        let wire = queue.run(20, payload: payload).wire
        #expect(abs(wire / (20 * Double(limit)) - 1) < 0.001)
        #expect(abs(Double(queue.control.rate) / Double(limit) - 1) < 0.003)
    }

    @Test(arguments: [Counting.payload, .wire])
    func `a new limit starts at itself`(counting: Counting) {
        #expect(QueueControl(limit: 50_000, counting: counting).rate == 50_000)
    }

    @Test(arguments: [Counting.payload, .wire], [0.04, -0.04])
    func `what passed too much or too little is made good`(counting: Counting, error: Double) {
        let limit = 5_000_000.0
        var queue = Shaped(limit: UInt64(limit), counting: counting)
        queue.run(5)
        // The queue passes other than it should, as a timer's delay may make it.
        queue.run(0.5, leak: limit * error)
        let rate = queue.control.rate
        queue.run(10)
        #expect(error > 0 ? rate < queue.control.rate : rate > queue.control.rate)
        let all = counting == .payload ? queue.counters.passedPayloadBytes : queue.counters.passedWireBytes
        #expect(abs(Double(all) / (15.5 * limit) - 1) < 0.01)
    }

    @Test func `a correction is at most a twentieth of the limit`() {
        for leak in [1e9, -4e6] {
            var queue = Shaped(limit: 5_000_000, counting: .wire)
            queue.run(5)
            queue.run(3, leak: leak)
            #expect((0.949...1.051).contains(Double(queue.control.rate) / 5_000_000))
            queue.run(10)
            #expect(abs(Double(queue.control.rate) / 5_000_000 - 1) < 0.003)
        }
    }

    @Test func `tiny packets don't let the rate run away`() {
        var queue = Shaped(limit: 5_000_000)
        queue.run(10, payload: 1, headers: 65)
        #expect(Double(queue.control.rate) <= 2.11 * 5_000_000)
        // Large ones come: not much more than the limit passes, and soon none.
        let first = queue.run(1).payload
        #expect(first < 1.5 * 5_000_000)
        queue.run(3)
        let last = queue.run(5).payload
        #expect(abs(last / 25_000_000 - 1) < 0.06)
    }

    /// Packets are charged as they come to the queue, which has 100 ms of them waiting all the time.
    @Test(arguments: limits.dropLast(), [0.0, 0.2, 0.4])
    func `what was borrowed before there was a queue is paid back soon`(limit: UInt64, debt: Double) {
        var control = QueueControl(limit: limit, counting: .payload)
        var counters = Counters()
        var (left, seconds) = (0.0, 0.0)
        for _ in 0..<50 {
            left += Double(control.rate) / 10 / 1.05
            seconds += 0.1
            counters.passedPayloadBytes += UInt64(Double(control.rate) / 10 / 1.05)
            counters.passedWireBytes += UInt64(Double(control.rate) / 10)
            let lead = max(0, debt * Double(limit) + left - Double(limit) * seconds) + Double(limit) / 10
            let waiting = Double(limit) / 10 * 1.05
            _ = control.step(
                counters, isWaiting: true, seconds: 0.1, ahead: (charged: UInt64(lead), waiting: UInt64(waiting)))
            if seconds > 2.5 { #expect(abs((left / Double(limit) + debt) / seconds - 1) < 0.02) }
        }
        #expect(abs(Double(control.rate) / Double(limit) / 1.05 - 1) < 0.02)
    }

    @Test func `what nobody waits for is nobody's debt`() {
        var queue = Shaped(limit: 5_000_000, counting: .wire)
        queue.run(10, leak: -4_000_000, isWaiting: false)
        #expect(queue.control.rate == 5_000_000)
        // Nor is the step in which packets began to wait.
        queue.run(0.1, leak: -4_000_000)
        #expect(queue.control.rate == 5_000_000)
    }

    @Test func `without traffic nothing changes`() {
        var control = QueueControl(limit: 5_000_000, counting: .payload)
        for isWaiting in [true, false, true, true] {
            let rate = control.step(Counters(), isWaiting: isWaiting, seconds: 0.1)
            #expect(rate == nil)
        }
    }

    @Test func `a rate that is right is not set again`() {
        var control = QueueControl(limit: 5_000_000, counting: .payload)
        var counters = Counters()
        var changes = 0
        for _ in 0..<300 {
            counters.passedWireBytes += UInt64(Double(control.rate) / 10)
            counters.passedPayloadBytes += UInt64(Double(control.rate) / 10 * 1448 / 1514)
            if control.step(counters, isWaiting: true, seconds: 0.1) != nil { changes += 1 }
        }
        #expect((1...60).contains(changes))
    }

    @Test(arguments: [1, 2, 1000, 1 << 40, 1 << 62, UInt64(Int64.max)], [Counting.payload, .wire])
    func `no limit and no traffic is too much`(limit: UInt64, counting: Counting) {
        var random = SeededGenerator(seed: limit)
        var control = QueueControl(limit: limit, counting: counting)
        var counters = Counters()
        for _ in 0..<2000 {
            let payload = random.next() % 4 == 0 ? 0 : random.magnitude(bits: 48)
            counters.passedPayloadBytes += payload
            counters.passedWireBytes += payload + random.magnitude(bits: 20)
            let seconds = Double(random.magnitude(bits: 36)) / 1e9
            _ = control.step(counters, isWaiting: random.next() % 2 == 0, seconds: seconds)
            #expect(control.rate > 0 && Double(control.rate) <= 2.11 * Double(limit) + 1)
        }
    }
}
