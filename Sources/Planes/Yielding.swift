import Background
import Kernel
import Programs
import Units

/// Has a run take only what nobody else wants, by its rates.
package struct Yielding {
    /// Between two steps, in ns.
    package static let period = UInt64(YieldControl.period * 1e9)

    private var controls: [Direction: YieldControl]
    private var ceiling: Rates
    private let memory: RunMemory
    private var stepped = Host.monotonicNanoseconds
    private var before: [Direction: Marks] = [:]

    /// What was counted until the last step.
    private struct Marks {
        var bytes: UInt64 = 0
        /// Of all that passed the devices, and of the run's own, in bytes of frames.
        var device: UInt64?
        var own: UInt64 = 0
        var losses: UInt64 = 0
    }

    /// What is asked for is the ceiling. Sets the run's rates, which are low at first.
    package init(_ memory: RunMemory) {
        self.memory = memory
        ceiling = memory.asked
        controls = [
            .down: YieldControl(ceiling: memory.asked.down.bytesPerSecond),
            .up: YieldControl(ceiling: memory.asked.up.bytesPerSecond),
        ]
        memory.rates = rates
        tell(YieldState())
    }

    /// What the run may use now.
    package var rates: Rates {
        Rates(bytesPerSecond: (controls[.down]?.rate, controls[.up]?.rate))
    }

    /// Holds to the ceilings that are asked for now.
    package mutating func follow() {
        if ceiling == memory.asked { return }
        ceiling = memory.asked
        for direction in Direction.allCases { controls[direction]?.limit(to: ceiling[direction].bytesPerSecond) }
    }

    /// Whether packets passed for some seconds, and no round trip was timed.
    package var isBlind: Bool {
        memory.samplesTaken == 0 && memory.hasTraffic && memory.lastCharge > began + Yielding.blindness
    }

    private let began = Host.monotonicNanoseconds
    private static let blindness: UInt64 = 3_000_000_000

    /// Takes in what passed; `rates` are others then. `devices`: bytes of frames that all together have moved by the run's
    /// devices; nil where nobody is to be given way to for that.
    package mutating func step(devices: (received: UInt64, sent: UInt64)?) {
        let now = Host.monotonicNanoseconds
        let seconds = Double(now - stepped) / 1e9
        stepped = now
        let times = memory.takeTimes()
        let delay = times.map {
            Delay(queueing: Double($0.queueing) / 1e9, base: Double($0.base) / 1e9, samples: Int(clamping: $0.samples))
        }
        for direction in Direction.allCases {
            let seen = observe(direction, seconds, delay, direction == .down ? devices?.received : devices?.sent)
            _ = controls[direction]?.step(seen)
        }
        tell(state(times))
    }

    private mutating func observe(
        _ direction: Direction, _ seconds: Double, _ delay: Delay?, _ device: UInt64?
    ) -> Observation {
        let counters = memory.counters(direction)
        let isUp = direction == .up
        var marks = Marks()
        // What was only sent may wait still; but nothing else is known of what isn't TCP's.
        marks.bytes =
            isUp && memory.acknowledgedBytes > 0 ? memory.acknowledgedBytes : counters.passedBytes(memory.counting)
        marks.device = device
        let exempt = counters.exemptBytes + counters.exemptPackets * 14
        marks.own = (isUp ? counters.passedWireBytes : memory.arrivedWireBytes) + exempt
        marks.losses = isUp ? memory.planeCounters.retransmittedSegments : 0
        let last = before[direction] ?? marks
        before[direction] = marks
        func since(_ value: UInt64, _ last: UInt64) -> UInt64 { value - min(value, last) }
        let own = since(marks.own, last.own)
        let all = device.map { since($0, last.device ?? $0) } ?? 0
        return Observation(
            bytes: since(marks.bytes, last.bytes), seconds: seconds, delay: delay,
            losses: since(marks.losses, last.losses), othersBytes: since(all, own))
    }

    private func state(_ times: TripTimes?) -> YieldState {
        var state = memory.yielding ?? YieldState()
        for (number, direction) in Direction.allCases.enumerated() {
            guard let control = controls[direction] else { continue }
            state.isAway[number] = control.isAway
            state.yields[number] = UInt32(clamping: control.yields)
        }
        if let times {
            state.queueing = UInt32(clamping: times.queueing / 1000)
            state.base = UInt32(clamping: times.base / 1000)
        }
        return state
    }

    private func tell(_ state: YieldState) { memory.yielding = state }
}
