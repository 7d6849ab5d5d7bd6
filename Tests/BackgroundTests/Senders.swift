/// A transfer with CUBIC (RFC 9438), in packets.
final class Cubic: Sender {
    /// As Linux has it: slow start ends at the first queue.
    private let hasHyStart: Bool
    private var window = 10.0
    private var threshold = Double.infinity
    /// The window at the last loss, where the curve begins, and seconds from there to its inflection.
    private var largest = 0.0
    private var origin = 0.0
    private var inflection = 0.0
    private var epoch: Double?
    /// The window that Reno would have.
    private var reno = 0.0
    private var recovery = 0.0
    private var roundTrip = (least: Double.infinity, last: 0.0)
    private var round = (end: 0.0, packets: 0.0, least: Double.infinity)

    init(hyStart: Bool = false) {
        hasHyStart = hyStart
    }

    override func send(at now: Double, tick: Double) -> Double { max(0, window * packet - inFlight) }

    override func acknowledged(_ bytes: Double, roundTrip time: Double, at now: Double) {
        roundTrip = (min(roundTrip.least, time), time)
        if now >= round.end { round = (now + time, 0, .infinity) }
        round.packets += bytes / packet
        round.least = min(round.least, time)
        guard now >= recovery else { return }
        if window < threshold {
            window += bytes / packet
            let isLate = round.least > roundTrip.least + min(max(roundTrip.least / 8, 0.004), 0.016)
            if hasHyStart, window >= 16, round.packets >= 8, isLate { threshold = window }
        } else {
            avoidCongestion(bytes / packet, at: now)
        }
    }

    private func avoidCongestion(_ packets: Double, at now: Double) {
        if epoch == nil {
            epoch = now
            origin = max(largest, window)
            inflection = cubeRoot((origin - window) / 0.4)
            reno = window
        }
        let time = now - (epoch ?? now) + roundTrip.least - inflection
        let wanted = origin + 0.4 * time * time * time
        reno += 0.53 * packets / window
        window += min(max(0, wanted - window), window / 2) / window * packets
        window = max(window, reno)
    }

    override func lost(_ bytes: Double, at now: Double) {
        guard now >= recovery else { return }
        largest = window < largest ? window * 0.85 : window
        window = max(window * 0.7, 2)
        threshold = window
        epoch = nil
        recovery = now + roundTrip.last
    }

    private func cubeRoot(_ value: Double) -> Double {
        var root = max(value, 1)
        for _ in 0..<30 { root -= (root * root * root - value) / (3 * root * root) }
        return root
    }
}

/// A transfer with BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00).
final class BBR: Sender {
    private enum Phase { case startup, drain, probeBandwidth, probeRoundTrip }

    private static let startupGain = 2.89
    private var phase = Phase.startup
    /// Bytes per second of the last ten rounds.
    private var rates: [Double] = []
    private var roundTrip = (least: 1.0, at: 0.0, last: 1.0)
    private var round = (start: 0.0, end: 0.0, bytes: 0.0)
    /// The rate of a full pipe, and for how many rounds it hasn't grown.
    private var full = (rate: 0.0, rounds: 0)
    private var cycle = (step: 2, start: 0.0, hasLoss: false)
    private var probeEnd: Double?
    private var credit = 0.0
    private var hasBegun = false

    private var rate: Double { rates.max() ?? 0 }
    private var product: Double { rate * roundTrip.least }
    private var gain: Double {
        switch phase {
        case .startup: BBR.startupGain
        case .drain: 1 / BBR.startupGain
        case .probeBandwidth: cycle.step == 0 ? 1.25 : cycle.step == 1 ? 0.75 : 1
        case .probeRoundTrip: 1
        }
    }

    override func send(at now: Double, tick: Double) -> Double {
        if !hasBegun {
            hasBegun = true
            (round.start, roundTrip.at) = (now, now)
            return 10 * packet
        }
        if rates.isEmpty { return 0 }
        let factor = phase == .startup ? BBR.startupGain : 2
        let window = phase == .probeRoundTrip ? 4 * packet : max(factor * product, 4 * packet)
        let paced = gain * rate * tick
        credit = min(credit + paced, max(2 * packet, paced))
        let bytes = min(credit, max(0, window - inFlight))
        credit -= bytes
        return bytes
    }

    override func lost(_ bytes: Double, at now: Double) { cycle.hasLoss = true }

    override func acknowledged(_ bytes: Double, roundTrip time: Double, at now: Double) {
        roundTrip.last = time
        if time <= roundTrip.least { (roundTrip.least, roundTrip.at) = (time, now) }
        round.bytes += bytes
        if now >= round.end { endRound(at: now) }
        switch phase {
        case .startup: break
        case .drain: if inFlight <= product { begin(.probeBandwidth, at: now) }
        case .probeBandwidth: advanceCycle(at: now)
        case .probeRoundTrip: endProbe(at: now)
        }
        if phase != .probeRoundTrip, now - roundTrip.at > 10 { (phase, probeEnd) = (.probeRoundTrip, nil) }
    }

    private func begin(_ phase: Phase, at now: Double) {
        self.phase = phase
        cycle = (2, now, false)
    }

    private func endRound(at now: Double) {
        // The first is a burst, whose rate is that of the window over the round trip.
        let seconds = rates.isEmpty ? roundTrip.last : now - round.start
        let isLimited = phase == .probeRoundTrip
        if !isLimited || round.bytes / seconds > rate { rates = rates.suffix(9) + [round.bytes / seconds] }
        if phase == .startup {
            full = rate > 1.25 * full.rate ? (rate, 0) : (full.rate, full.rounds + 1)
            if full.rounds >= 3 { phase = .drain }
        }
        round = (now, now + roundTrip.last, 0)
    }

    private func advanceCycle(at now: Double) {
        let isLong = now - cycle.start > roundTrip.least
        let isOver =
            switch cycle.step {
            case 0: isLong && (cycle.hasLoss || inFlight >= 1.25 * product)
            case 1: isLong || inFlight <= product
            default: isLong
            }
        if isOver { cycle = ((cycle.step + 1) % 8, now, false) }
    }

    private func endProbe(at now: Double) {
        if probeEnd == nil, inFlight <= 4 * packet { probeEnd = now + max(0.2, roundTrip.last) }
        guard let probeEnd, now >= probeEnd else { return }
        (roundTrip.least, roundTrip.at) = (roundTrip.last, now)
        begin(full.rounds >= 3 ? .probeBandwidth : .startup, at: now)
    }
}

/// A fixed rate, as a call has.
final class Steady: Sender {
    private let rate: Double

    init(rate: Double) {
        self.rate = rate
    }

    override func send(at now: Double, tick: Double) -> Double { rate * tick }
}
