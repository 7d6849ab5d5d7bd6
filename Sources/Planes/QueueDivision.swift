import Kernel
import Programs

/// Holds the queues of a run to its limit together: what those that hold something back may send is what the others leave,
/// in equal parts.
struct QueueDivision {
    private var control: QueueControl
    private var steppedNanoseconds = Host.monotonicNanoseconds
    private var passedBytes: [NetworkPlanes.Place: UInt64] = [:]
    private let direction: Direction
    private let memory: RunMemory

    /// For a limit in bytes a second.
    init(_ direction: Direction, limit: UInt64, _ memory: RunMemory) {
        control = QueueControl(limit: limit, counting: memory.counting, since: memory.counters(direction))
        self.direction = direction
        self.memory = memory
    }

    /// Holds them to another limit.
    mutating func follow(limit: UInt64, _ networks: [NetworkPlanes.Place: NetworkPlanes]) throws(SystemError) {
        let rate = control.follow(limit: limit)
        for network in networks.values { try network.setRate(rate) }
        letBy(networks)
    }

    /// Takes in what passed since the last step.
    mutating func step(_ networks: [NetworkPlanes.Place: NetworkPlanes]) {
        let now = Host.monotonicNanoseconds
        let seconds = Double(now - steppedNanoseconds) / 1e9
        steppedNanoseconds = now
        let isWaiting = networks.values.contains(where: \.isWaiting)
        _ = control.step(memory.counters(direction), isWaiting: isWaiting, seconds: seconds, ahead: ahead(networks))
        let waiting = networks.values.count(where: \.isWaiting)
        var rate = control.rate
        if networks.count > 1 && waiting > 0 {
            var left = Double(rate)
            for (place, network) in networks where !network.isWaiting {
                left -= Double(network.passedBytes - (passedBytes[place] ?? network.passedBytes)) / seconds
            }
            rate = UInt64(max(left, Double(rate) / 10)) / UInt64(waiting)
        }
        for (place, network) in networks {
            // One that fails is told by its next step.
            try? network.setRate(waiting == 0 || network.isWaiting ? max(rate, 1) : control.rate)
            passedBytes[place] = network.passedBytes
        }
        letBy(networks)
    }

    /// Downloads that one queue would let by at once needn't go there.
    private func letBy(_ networks: [NetworkPlanes.Place: NetworkPlanes]) {
        if direction == .down { memory.letBy(networks.count == 1 ? control.rate : 0) }
    }

    /// Bytes of frames that uploads have passed beyond the limit: those that wait are charged already.
    private func ahead(_ networks: [NetworkPlanes.Place: NetworkPlanes]) -> (charged: UInt64, waiting: UInt64)? {
        if direction == .down { return nil }
        return (memory.uploadLead, networks.values.reduce(0) { $0 + $1.waitingBytes })
    }
}
