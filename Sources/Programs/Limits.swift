import CPrograms
import Units

/// A rate for each direction.
package struct Rates: Equatable, Sendable {
    package var down: Rate
    package var up: Rate

    package init(down: Rate = .unlimited, up: Rate = .unlimited) {
        self.down = down
        self.up = up
    }

    /// No limit in either direction.
    package static let unlimited = Rates()

    package subscript(direction: Direction) -> Rate { direction == .down ? down : up }

    /// The lower of both, for each direction.
    package func capped(by other: Rates) -> Rates { Rates(down: min(down, other.down), up: min(up, other.up)) }
}

/// What a limit counts.
package enum Counting: String, Sendable, CaseIterable {
    /// Bytes behind the transport header: what wget shows.
    case payload
    /// Layer 2 frames.
    case wire
}

/// What a run may do. A program drops a packet, or has TCP keep it, once what passed is more than `burst` ahead of its
/// direction's rate, in bytes as `counting` has it.
package struct Limits: Sendable {
    package let rates: Rates
    package let burst: TimeSpan
    package let counting: Counting

    package init(_ rates: Rates, burst: TimeSpan, counting: Counting) {
        self.rates = rates
        self.burst = burst
        self.counting = counting
    }
}

extension Rates {
    /// nil and 0 stand for no limit.
    package init(bytesPerSecond: (UInt64?, UInt64?)) {
        self.init(
            down: Rate(bytesPerSecond: bytesPerSecond.0 ?? 0), up: Rate(bytesPerSecond: bytesPerSecond.1 ?? 0))
    }

    /// In the form that the programs of a run read.
    func encoded(_ burst: TimeSpan, _ counting: Counting) -> (throttle_limit, throttle_limit) {
        func limit(_ rate: Rate) -> throttle_limit {
            bucket_limit(rate.bytesPerSecond ?? 0, burst.nanoseconds, counting == .wire)
        }
        return (limit(down), limit(up))
    }
}

extension throttle_limits {
    /// What holds. What another process wrote may be no rate: then it is the largest.
    var rates: Rates {
        withUnsafePointer(to: self) { limits in
            func rate(_ direction: throttle_direction) -> UInt64 {
                min(bucket_limit_now(limits, direction).pointee.rate, UInt64(Int64.max))
            }
            return Rates(bytesPerSecond: (rate(THROTTLE_DOWN), rate(THROTTLE_UP)))
        }
    }
}
