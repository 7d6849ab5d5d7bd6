import CPrograms
import Kernel
import Units

/// A budget that a run's packets are charged to besides its own limit.
package enum GroupBudget: Sendable {
    case none
    /// One of the run's own, for others to share.
    case new
    /// That of another run, by its descriptor.
    case shared(CInt)
}

/// The budget that the runs of a group share, in memory that all their programs have. Any process of the user may have
/// written it.
package final class GroupMemory {
    private let shared: SharedMemory<throttle_group>
    /// What another run's programs need to charge the same one.
    package let descriptor: Descriptor

    init(of object: borrowing BPFObject) throws(LoadError) {
        let shared = try SharedMemory<throttle_group>(of: object, Map.group)
        descriptor = try object.copyDescriptor(ofMap: Map.group)
        self.shared = shared
    }

    private var group: UnsafeMutablePointer<throttle_group> { shared.value }

    /// What its runs may use together. Both directions change at once, from the next packet on.
    package var rates: Rates {
        get { group.pointee.limits.rates }
        set {
            // Its burst is of the budget: it grows with the group.
            let (down, up) = newValue.encoded(TimeSpan(nanoseconds: 0), .payload)
            bucket_change(
                &group.pointee.limits, down, up, &group.pointee.budget.0.tat, &group.pointee.budget.1.tat,
                Host.monotonicNanoseconds)
        }
    }

    /// How far what has passed is ahead of the clock, in nanoseconds; 0 where it isn't.
    package func lead(_ direction: Direction) -> UInt64 {
        let now = Host.monotonicNanoseconds
        return max(direction.pick(from: group.pointee.budget).tat, now) - now
    }

    /// How far it may be before packets are dropped, in nanoseconds.
    package func setBurst(_ direction: Direction, nanoseconds: UInt64) {
        if direction == .down {
            group.pointee.budget.0.burst_ns = nanoseconds
        } else {
            group.pointee.budget.1.burst_ns = nanoseconds
        }
    }
}
