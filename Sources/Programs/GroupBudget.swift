import CKernel
import CPrograms
import Kernel
import Units

/// A budget that a run's packets are charged to besides its own limit.
public enum GroupBudget: Sendable {
    case none
    /// One of the run's own, for others to share.
    case new
    /// That of another run, by its `groupDescriptor`.
    case shared(CInt)
}

/// The budget that the runs of a group share.
extension ProgramSet {
    /// What another run's programs need to charge the same one.
    public var groupDescriptor: CInt { object.descriptor(ofMap: Map.group) }

    /// Changes both rates at once, from the next packet on.
    public func setGroupRates(down: Rate, up: Rate) {
        let group = group.value
        let limits = (ProgramSet.groupLimit(down), ProgramSet.groupLimit(up))
        if group.pointee.slot == 0 { group.pointee.limits.1 = limits } else { group.pointee.limits.0 = limits }
        kernel_fence()
        group.pointee.slot = group.pointee.slot == 0 ? 1 : 0
        let now = Host.monotonicNanoseconds
        group.pointee.budget.0.tat = min(group.pointee.budget.0.tat, now)
        group.pointee.budget.1.tat = min(group.pointee.budget.1.tat, now)
    }

    /// Its burst is of the budget: it grows with the group.
    private static func groupLimit(_ rate: Rate) -> throttle_limit { bucket_limit(rate.bytesPerSecond ?? 0, 0, false) }

    /// What its runs may use together.
    public func groupRate(_ direction: Direction) -> Rate {
        let limits = group.value.pointee.slot == 0 ? group.value.pointee.limits.0 : group.value.pointee.limits.1
        // Any process of the user may have written it.
        return Rate(bytesPerSecond: min(direction.pick(from: limits).rate, UInt64(Int64.max)))
    }

    /// How far what has passed is ahead of the clock, in nanoseconds; 0 where it isn't.
    public func groupLead(_ direction: Direction) -> UInt64 {
        let now = Host.monotonicNanoseconds
        return max(direction.pick(from: group.value.pointee.budget).tat, now) - now
    }

    /// How far it may be before packets are dropped, in nanoseconds.
    public func setGroupBurst(_ direction: Direction, nanoseconds: UInt64) {
        if direction == .down {
            group.value.pointee.budget.0.burst_ns = nanoseconds
        } else {
            group.value.pointee.budget.1.burst_ns = nanoseconds
        }
    }
}
