import Programs

/// The rate of the queue. It counts frames; for the limit to hold for payload, it follows the frames' share of
/// headers, and makes good what passed too much or too little while packets waited.
struct QueueControl {
    /// Seconds in which a surplus wears off.
    private static let horizon = 1.0
    /// How much of the limit one correction may be.
    private static let largestCorrection = 0.05
    /// The same where the bucket tells the surplus: what passed before there was a queue is made good soon.
    private static let (debtHorizon, largestDebtCorrection) = (0.5, 0.3)
    /// What of the past counts at the next step.
    private static let memory = 0.75

    private var limit: Double
    private let counting: Counting
    private var before: Counters
    private var wasWaiting = false
    /// Recent traffic in bytes; at first, one step at the limit without headers, which errs on the safe side.
    private var payload: Double
    private var wire: Double
    /// Bytes that passed beyond the limit while packets waited; negative where it was less.
    private var surplus = 0.0
    /// The part of the limit that makes it good.
    private var correction = 0.0
    /// Bytes of frames a second, as last set.
    private(set) var rate: UInt64

    /// `since`: what was counted before there was a queue.
    init(limit: UInt64, counting: Counting, since before: Counters = Counters()) {
        self.before = before
        self.limit = Double(limit)
        self.counting = counting
        payload = self.limit * Double(Planes.period) / 1e9
        wire = payload
        rate = limit
    }

    /// Holds to another limit. Returns the new rate.
    mutating func follow(limit: UInt64) -> UInt64 {
        surplus *= min(1, Double(limit) / self.limit)
        self.limit = Double(limit)
        rate = UInt64(max(1, min(self.limit * overhead, 9e18)))
        return rate
    }

    /// Bytes of frames for each byte that is counted. Tiny packets alone must not let the rate run away before large ones
    /// come.
    private var overhead: Double { counting == .payload ? min(wire / payload, 2) : 1 }

    /// Takes in what passed in the last `seconds`. `ahead`: where packets are charged before they wait, bytes that were charged
    /// beyond the limit, as it counts them, and those of frames that wait. Returns the new rate, nil if the present one is
    /// right.
    mutating func step(
        _ counters: Counters, isWaiting: Bool, seconds: Double, ahead: (charged: UInt64, waiting: UInt64)? = nil
    ) -> UInt64? {
        let newPayload = Double(counters.passedPayloadBytes - before.passedPayloadBytes)
        let newWire = Double(counters.passedWireBytes - before.passedWireBytes)
        before = counters
        if isWaiting && wasWaiting {
            let (horizon, largest) =
                ahead == nil
                ? (QueueControl.horizon, QueueControl.largestCorrection)
                : (QueueControl.debtHorizon, QueueControl.largestDebtCorrection)
            let now =
                if let ahead { Double(ahead.charged) - Double(ahead.waiting) / overhead } else {
                    surplus + (counting == .payload ? newPayload : newWire) - limit * seconds
                }
            surplus = limit * horizon * max(-QueueControl.largestCorrection, min(now / (limit * horizon), largest))
            correction = surplus / (limit * horizon)
        }
        wasWaiting = isWaiting
        if newPayload == 0 { return nil }
        payload = payload * QueueControl.memory + newPayload
        wire = wire * QueueControl.memory + newWire
        let wanted = limit * overhead * (1 - correction)
        guard wanted < 9e18, abs(wanted - Double(rate)) > Double(rate) / 1000 else { return nil }
        rate = UInt64(max(wanted, 1))
        return rate
    }
}
