/// The rate of a run that gives way to all other traffic, in one direction. It yields by delay, as LEDBAT (RFC 6817) and
/// LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus) do, and as a receiver can (RFC 9840), but in rates: what enforces them is a
/// queue of ours, which the measured delay isn't of. And it doesn't hold a queue at a target: whoever fills what is free,
/// and no more, sees the first 15 ms of another's queue.
///
/// It creeps up until there is a queue, and dips to half. If that drains the queue, the run was alone or with others that
/// yield, and goes on a tenth slower: an increase by the same for all and a decrease by a part, by which runs come to share
/// fairly (Chiu and Jain, 1989). As the queue drains each time, who comes later measures the true base delay. If the queue
/// stays, someone needs the line: the run goes away, and comes back from little, exponentially, so that who still fills the
/// line is met at a few hundredths of it.
package struct YieldControl {
    package enum Phase {
        /// Exponentially to most of the line's known rate.
        case ramp
        case creep
        /// At half, to see if that drains the queue.
        case dip
        /// At next to nothing, as someone needs the line.
        case away
    }

    /// Seconds between steps; twice that does hardly worse.
    package static let period = 0.05
    /// Seconds of queue that a run may add, as LEDBAT++ has it.
    private static let target = 0.06
    /// Bytes of a packet.
    private static let packet = 1500.0
    /// Seconds of queue that are a sign of someone: half of the base delay within these bounds. LEDBAT++ has 60 ms, which
    /// a buffer may never hold, and which a latecomer would add to.
    private static let (leastSign, largestSign) = (0.008, 0.015)
    /// Where round trips vary without a queue (Wi-Fi, mobile): this many mean changes of theirs, and at most this.
    private static let (jitterFactor, largestJitter, largestJitterSign) = (3.5, 0.010, 0.030)
    /// Seconds in which a ramp doubles; these, and at least so many base delays, where the line's rate isn't known yet, as
    /// nothing ends the ramp then but a queue.
    private static let (doubling, firstDoubling, firstBases) = (0.4, 0.8, 8.0)
    /// Bytes per second, at first and where no round trip is measured for some seconds: then nothing says more.
    private static let (firstSpeed, blindness) = (40 * packet, 3.0)
    /// Seconds after which what moved says something of a line that isn't known yet.
    private static let firstLook = 2.0
    /// Part of the line's rate to which a ramp goes.
    private static let rampEnd = 0.85
    /// Bytes per second that creeping adds each second, and the most of the line that it does.
    private static let (slope, largestSlope) = (32_000.0, 0.25)
    /// What is left of the rate at each step with a round trip while a dip that should have drained the queue hasn't.
    private static let dipDecay = 0.8
    /// What is left of the rate once a dip has drained the queue, and of the line's known rate at each.
    private static let (resumption, lineMemory) = (0.9, 0.98)
    /// Seconds to stay away, doubled each time that a ramp meets someone.
    private static let (leastPause, largestPause) = (0.5, 1.5)
    /// Part of the line's rate that is left to a run that is away: the start of its next ramp.
    private static let least = 1.0 / 64
    /// Seconds after which the least delay is forgotten, at the earliest; a route may have become longer.
    private static let memory = 60.0

    private var ceiling = 1e18
    /// Bytes per second, as set; before bounds.
    private var speed: Double
    package private(set) var phase = Phase.ramp
    /// Bytes per second that arrived of late, as far as known.
    private var moved = 0.0
    /// Bytes per second that the line carried when it was full; 0 where that isn't known yet.
    package private(set) var line = 0.0
    /// Seconds, of the last round trip.
    package private(set) var base = 0.1
    /// Seconds, of the last round trip and of the one before; above the least of a minute or two.
    package private(set) var queueing = 0.0
    private var earlier = 0.0
    /// Seconds that the delay changes by between steps, on average.
    private var jitter = 0.0
    /// Least delay of this minute and of the one before, and this one's age.
    private var lowest = (before: Double.infinity, now: Double.infinity, age: 0.0)
    /// Bytes per second that others move on the device.
    private var others = (now: 0.0, usual: 0.0)
    /// What it was at when the dip began.
    private var met = (queueing: 0.0, moved: 0.0)
    /// Seconds until a dip shows or a pause ends; below 0 after that.
    private var wait = 0.0
    private var pause = YieldControl.leastPause
    /// Seconds since the last dip or pause, and since the last round trip.
    private var (sinceQueue, sinceDelay) = (0.0, 0.0)
    /// How often it went away for others.
    package private(set) var yields: UInt64 = 0

    /// `ceiling`: bytes per second.
    package init(ceiling: UInt64? = nil) {
        speed = YieldControl.firstSpeed
        limit(to: ceiling)
    }

    /// Sets another ceiling.
    package mutating func limit(to ceiling: UInt64?) {
        self.ceiling = max(1, min(Double(ceiling ?? .max), 1e18))
        speed = min(speed, self.ceiling)
    }

    /// Bytes per second.
    package var rate: UInt64 { UInt64(speed) }
    /// Whether it leaves the line to others now.
    package var isAway: Bool { phase == .away }

    /// Takes in what was seen. Returns the new rate.
    package mutating func step(_ seen: Observation) -> UInt64 {
        guard seen.seconds > 0 else { return rate }
        let seconds = min(seen.seconds, 1)
        moved += (Double(seen.bytes) / seen.seconds - moved) * min(1, seconds / 0.2)
        wait -= seconds
        sinceQueue += seconds
        sinceDelay += seconds
        if let delay = seen.delay { take(delay) }
        if othersCome(Double(seen.othersBytes) / seen.seconds, seconds: seconds) {
            // What moved at its start says nothing of a line.
            leave(learns: line > 0 || phase == .dip || sinceQueue > YieldControl.firstLook)
        } else {
            act(hasDelay: seen.delay != nil, isCrowded: isCrowded(seen))
        }
        if seen.delay != nil { sinceDelay = 0 }
        speed = min(max(speed, least), ceiling)
        return rate
    }

    private var sign: Double {
        let byJitter = min(YieldControl.jitterFactor * jitter, YieldControl.largestJitterSign)
        // A sender whose window is full waits for the next acknowledgement, which is as far off as packets are apart:
        // at first, that is far.
        let bySpacing =
            line > 0 ? 0 : min(2.5 * YieldControl.packet / max(speed, 1), 0.75 * YieldControl.target)
        return max(YieldControl.leastSign, min(base / 2, YieldControl.largestSign), byJitter, bySpacing)
    }

    /// Two packets a round trip or the part of the line, so that there are round trips to measure.
    private var least: Double {
        max(2 * YieldControl.packet, min(2 * YieldControl.packet / base, line * YieldControl.least))
    }

    private mutating func take(_ delay: Delay) {
        guard delay.queueing.isFinite, delay.base.isFinite else { return }
        lowest.age += sinceDelay
        if lowest.age > YieldControl.memory { lowest = (lowest.now, .infinity, 0) }
        lowest.now = min(lowest.now, delay.queueing)
        earlier = queueing
        queueing = delay.queueing - min(lowest.now, lowest.before)
        jitter += (min(abs(queueing - earlier), YieldControl.largestJitter) - jitter) / 32
        base = max(0.001, min(delay.base, 2))
    }

    /// Whether there is a queue, or packets get lost before there is one. A single round trip may be late for itself.
    private func isCrowded(_ seen: Observation) -> Bool {
        let lost = Double(seen.losses) * YieldControl.packet
        if lost > 0.02 * Double(seen.bytes) + 2 * YieldControl.packet { return true }
        guard let delay = seen.delay else { return false }
        return (delay.samples > 1 ? queueing : min(queueing, earlier)) > sign || queueing > 3 * sign
    }

    /// Whether others begin to move a good part of what the run does: no keystroke, no acknowledgements. What they always
    /// move may go elsewhere than over the bottleneck.
    private mutating func othersCome(_ now: Double, seconds: Double) -> Bool {
        others.now += (now - others.now) * min(1, seconds / 0.2)
        others.usual += (others.now - others.usual) * min(1, seconds / 5)
        return others.now - others.usual > max(0.1 * speed, 0.05 * line, 20_000) && others.now > 1.2 * others.usual
    }

    private mutating func act(hasDelay: Bool, isCrowded: Bool) {
        switch phase {
        case .ramp, .creep:
            if isCrowded {
                dip()
            } else if hasDelay, queueing <= sign, 2 * moved >= speed {
                grow(seconds: sinceDelay)
            }
        case .dip:
            guard hasDelay else {
                if isBlind { begin(.creep, at: min(speed, YieldControl.firstSpeed)) }
                return
            }
            if queueing > 2 * met.queueing + YieldControl.target { return leave() }
            if wait > 0 { return }
            if queueing <= max(sign, met.queueing) / 2 {
                resume()
            } else if wait < -2 * base - met.queueing - 0.1 {
                leave()
            } else {
                speed *= YieldControl.dipDecay
            }
        case .away:
            if isCrowded { wait = max(wait, pause / 2) }
            if wait > 0 { return }
            if hasDelay { begin(.ramp, at: line * YieldControl.least) }
            if isBlind { begin(.creep, at: YieldControl.firstSpeed) }
        }
    }

    private var isBlind: Bool { sinceDelay > YieldControl.blindness }

    private mutating func begin(_ phase: Phase, at speed: Double) {
        self.phase = phase
        self.speed = speed
        sinceQueue = 0
    }

    private mutating func grow(seconds: Double) {
        if phase == .ramp {
            let first = max(YieldControl.firstDoubling, YieldControl.firstBases * base)
            let time = line > 0 ? YieldControl.doubling : first
            speed *= 1 + 0.7 * seconds / time
            if line > 0, speed > YieldControl.rampEnd * line {
                begin(.creep, at: speed)
                pause = YieldControl.leastPause
            }
        } else {
            // The longer without a queue, the faster, as the line may be free; slower where the answer comes later.
            let eagerness = max(1, sinceQueue / (1 + 10 * base))
            let slope = min(YieldControl.slope, YieldControl.largestSlope * max(line, speed))
            speed += slope * eagerness * eagerness * seconds
            if sinceQueue > 3 + 5 * base, speed < 0.7 * line { phase = .ramp }
            // The line has far more than it ever had: as if it weren't known.
            if line > 0, speed > 1.5 * line { (phase, line) = (.ramp, 0) }
        }
    }

    private mutating func dip() {
        met = (queueing, min(moved, speed))
        begin(.dip, at: met.moved / 2)
        wait = base + queueing + 0.1
    }

    private mutating func resume() {
        line = max(met.moved, line * YieldControl.lineMemory)
        let speed = YieldControl.resumption * met.moved
        // At little of a line that carried more, someone fills it who leaves no queue.
        begin(speed < line / 4 ? .ramp : .creep, at: speed)
    }

    private mutating func leave(learns: Bool = true) {
        if learns { line = max(line, phase == .dip ? met.moved : moved) }
        if !isAway { yields += 1 }
        begin(.away, at: 0)
        wait = pause
        pause = min(2 * pause, YieldControl.largestPause)
    }
}
