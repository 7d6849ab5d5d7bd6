import CPrograms

/// What the programs saw of round trips since it was asked last.
package struct TripTimes: Sendable {
    /// The least that one took longer than the shortest one to the same address, and that one, in ns.
    package let queueing: UInt64
    package let base: UInt64
    /// How many there were, at least 1.
    package let samples: UInt64
}

/// How a run gives way.
package struct YieldState: Sendable, Equatable {
    /// For each direction, down first: whether the line is left to others now, and how often it was.
    package var isAway = [false, false]
    package var yields: [UInt32] = [0, 0]
    /// Of the last round trip: what others' packets, or ours, had it wait, and what it takes without that. In us.
    package var queueing: UInt32 = 0
    package var base: UInt32 = 0

    package init() {}
}

/// Round trips, of a run that was made to have them timed.
extension RunMemory {
    /// nil where none ended.
    package func takeTimes() -> TripTimes? {
        let now = run.pointee.times.samples
        defer {
            run.pointee.times.queueing_ns = .max
            samplesTaken = now
        }
        if now == samplesTaken || run.pointee.times.queueing_ns == .max { return nil }
        return TripTimes(
            queueing: run.pointee.times.queueing_ns, base: run.pointee.times.base_ns, samples: now - samplesTaken)
    }

    /// Bytes of uploads by TCP that were acknowledged, and of frames that came in by devices.
    package var acknowledgedBytes: UInt64 { run.pointee.times.acknowledged_bytes }
    package var arrivedWireBytes: UInt64 { run.pointee.times.wire_bytes }

    /// Whether what waited in the queue passes, however far that is beyond a limit which fell meanwhile.
    package var drains: Bool {
        get { run.pointee.queue.0.drains != 0 }
        set { run.pointee.queue.0.drains = newValue ? 1 : 0 }
    }

    /// nil where the run doesn't give way.
    package var yielding: YieldState? {
        get {
            let yield = run.pointee.yield
            if yield.is_on == 0 { return nil }
            var state = YieldState()
            state.isAway = [yield.is_away.0 != 0, yield.is_away.1 != 0]
            state.yields = [yield.yields.0, yield.yields.1]
            (state.queueing, state.base) = (yield.queueing_us, yield.base_us)
            return state
        }
        set {
            var yield = throttle_yield()
            if let state = newValue {
                yield.is_on = 1
                yield.is_away = (state.isAway[0] ? 1 : 0, state.isAway[1] ? 1 : 0)
                yield.yields = (state.yields[0], state.yields[1])
                (yield.queueing_us, yield.base_us) = (state.queueing, state.base)
            }
            run.pointee.yield = yield
        }
    }
}
