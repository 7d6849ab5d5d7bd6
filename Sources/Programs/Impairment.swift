import CPrograms
import Units

/// What makes a network slow besides its rate.
package struct Impairment: Equatable, Sendable {
    /// What is added to each round trip.
    package var rtt = TimeSpan(nanoseconds: 0)
    /// By how much that may be more or less; at most `rtt`.
    package var jitter = TimeSpan(nanoseconds: 0)
    /// How many packets are lost, in each direction.
    package var loss = Percentage.zero

    package init() {}

    /// Of seconds, and a share of 1, that somebody may have made up.
    package init(rtt: Double, jitter: Double, loss: Double) {
        func span(_ seconds: Double) -> TimeSpan { TimeSpan(nanoseconds: UInt64(min(max(seconds, 0), 1e6) * 1e9)) }
        self.rtt = span(rtt)
        self.jitter = span(jitter)
        self.loss = Percentage(share: loss)
    }

    package static let none = Impairment()

    /// Of either time.
    package static let longest = TimeSpan(nanoseconds: 10_000_000_000)

    package var isDelayed: Bool { rtt.nanoseconds > 0 }

    /// Why it can't be; nil where it can.
    package var fault: String? {
        if rtt.nanoseconds > Impairment.longest.nanoseconds { return "--rtt is 10s at most" }
        if [rtt, jitter].contains(where: { 1..<1000 ~= $0.nanoseconds }) {
            return "--rtt and --jitter are 1us at least"
        }
        if jitter.nanoseconds > rtt.nanoseconds { return "--jitter is at most as long as --rtt, which is \(rtt)" }
        return nil
    }

    /// With these instead; nil: as before.
    package func changed(rtt: TimeSpan?, jitter: TimeSpan?, loss: Percentage?) -> Impairment {
        var other = self
        other.rtt = rtt ?? self.rtt
        other.jitter = jitter ?? self.jitter
        other.loss = loss ?? self.loss
        return other
    }
}

extension Impairment: CustomStringConvertible {
    /// For people: `rtt +100ms, jitter 10ms, loss 1%`; `none` where there is none.
    package var description: String {
        var parts: [String] = []
        if isDelayed { parts.append("rtt +\(rtt)") }
        if jitter.nanoseconds > 0 { parts.append("jitter \(jitter)") }
        if loss.share > 0 { parts.append("loss \(loss)") }
        return parts.isEmpty ? "none" : parts.joined(separator: ", ")
    }
}

extension RunMemory {
    /// What holds. What another process wrote may be none.
    package var impairment: Impairment {
        get {
            var impairment = Impairment()
            impairment.rtt = TimeSpan(nanoseconds: UInt64(run.pointee.delay.us) * 1000)
            impairment.jitter = TimeSpan(nanoseconds: UInt64(run.pointee.delay.jitter_us) * 1000)
            let loss = run.pointee.loss.0
            // As it was given, which is a billionth at the finest.
            let billionths = ((Double(loss) + 1) / 4.294_967_296).rounded()
            impairment.loss = Percentage(share: loss == 0 ? 0 : billionths / 1e9)
            return impairment
        }
        set {
            run.pointee.delay = throttle_delay(
                us: UInt32(clamping: newValue.rtt.nanoseconds / 1000),
                jitter_us: UInt32(clamping: newValue.jitter.nanoseconds / 1000))
            let loss = UInt32(clamping: Int64(newValue.loss.share * 4_294_967_296) - 1)
            run.pointee.loss = (loss, loss)
        }
    }

    /// Neither delays nor loses anything any more.
    package func endImpairment() {
        impairment = .none
        (isImpaired, isDelayed) = (false, false)
    }

    /// Whether all is set up for it.
    package var isImpaired: Bool {
        get { run.pointee.state.is_impaired != 0 }
        set { run.pointee.state.is_impaired = newValue ? 1 : 0 }
    }

    /// Whether what is to be delayed is led to queues.
    package var isDelayed: Bool {
        get { run.pointee.queue.0.delays != 0 }
        set { (run.pointee.queue.0.delays, run.pointee.queue.1.delays) = newValue ? (1, 1) : (0, 0) }
    }
}
