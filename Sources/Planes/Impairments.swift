import Devices
import Kernel
import Programs

/// A slow network. Its queues are there before the first packet, at all devices: it is to be slow from then on.
extension Planes {
    /// Has packets delayed and lost as the run's user asks for now. Where that fails, none are any more.
    package mutating func impair() throws {
        let asked = memory.impairment
        if asked == impairment { return }
        do {
            try follow(asked)
        } catch {
            memory.impairment = .none
            try? follow(.none)
            throw error
        }
    }

    private mutating func follow(_ asked: Impairment) throws {
        impairment = asked
        memory.isImpaired = false
        if asked != .none && !run.impairs {
            // Those that are there can't: who never asks for it has smaller programs.
            run.impairs = true
            spare = nil
            for place in networks.keys { leave(place) }
        }
        for direction in Direction.allCases where queueRate(direction) != nil && asked != .none {
            if direction == .down && !asked.isDelayed { continue }
            try hookAll(direction)
        }
        for network in networks.values { try network.setDelay(Delay(asked)) }
        memory.isDelayed = asked.isDelayed
        memory.isImpaired = asked != .none
        follow()
    }

    private mutating func hookAll(_ direction: Direction) throws {
        let place = NetworkPlanes.Place(network: 0, direction: direction)
        try makeNetwork(place, queueRate(direction) ?? Queue.unlimited)
        for device in try networks[place]?.usableDevices() ?? [] {
            do {
                try hook(device.index, direction, of: 0)
            } catch {
                log.info("what passes device \(device.name) is neither delayed nor lost: \(error)")
            }
        }
    }

    mutating func hook(_ device: Int32, _ direction: Direction, of network: UInt64) throws {
        let place = NetworkPlanes.Place(network: network, direction: direction)
        try makeNetwork(place, queueRate(direction) ?? Queue.unlimited)
        try networks[place]?.hook(device)
    }
}

extension Delay {
    /// All of a round trip's is on the way in, or on the way out.
    init(_ impairment: Impairment) {
        self.init(nanoseconds: impairment.rtt.nanoseconds, jitterNanoseconds: impairment.jitter.nanoseconds)
    }
}
