/// How much a run may move, in both directions together.
extension RunMemory {
    /// In bytes, as the limits count them; nil: as much as it likes.
    package var quota: UInt64? { run.pointee.quota == 0 ? nil : run.pointee.quota }

    /// Whether it wanted to move more. No byte more has passed.
    package var isQuotaUsedUp: Bool { run.pointee.is_used_up != 0 }

    /// Sets it, where the programs were told of it (`hasQuota`) when they were loaded.
    func allot(_ bytes: UInt64) { run.pointee.quota = bytes }
}
