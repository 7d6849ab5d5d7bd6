import CKernel
import Glibc
import Kernel
import SystemPackage

/// The runs of a group, in memory that they all have mapped: who lives, and what each wants. It goes with its last run,
/// however that ends.
package struct GroupTable: ~Copyable {
    /// What one run says. Others only read it, or take it once the run is dead.
    struct Seat: BitwiseCopyable {
        /// 0: free.
        var owner: UInt64 = 0
        /// CLOCK_MONOTONIC, in ns.
        var seen: UInt64 = 0
        /// Bytes per second, of downloads and uploads.
        var demands: (UInt64, UInt64) = (0, 0)
    }

    static let seats = 1024
    /// A run that said nothing for so long is dead, or can't say what it wants: its guard was killed.
    static let silence: UInt64 = 2_000_000_000
    static let size = seats * MemoryLayout<Seat>.stride

    /// What another process needs to map it.
    package let descriptor: Descriptor
    private let table: UnsafeMutablePointer<Seat>

    /// Makes an empty one.
    package init() throws(SystemError) {
        let memory = kernel_shared_memory("throttle group", GroupTable.size)
        if memory < 0 { throw SystemError("create", "the memory of a group") }
        try self.init(sharing: Descriptor(owning: memory))
    }

    /// Maps that of another run.
    package init(sharing descriptor: consuming Descriptor) throws(SystemError) {
        // Another version of throttle may see it differently, and who answered may have made it up.
        guard kernel_is_shared_memory(descriptor.rawValue, GroupTable.size) else {
            throw SystemError("use", "the memory of a group", errno: .invalidArgument)
        }
        let start = mmap(nil, GroupTable.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)
        guard let start, start != MAP_FAILED else { throw SystemError("map", "the memory of a group") }
        table = start.assumingMemoryBound(to: Seat.self)
        self.descriptor = descriptor
    }

    deinit {
        munmap(table, GroupTable.size)
    }

    /// Takes a seat for a run that wants all it can get; nil where none is free.
    package func sit(_ owner: UInt64) -> Int? {
        let now = Host.monotonicNanoseconds
        for index in 0..<GroupTable.seats {
            let seat = table + index
            let before = seat.pointee.owner
            guard before == 0 || isSilent(seat.pointee, now) else { continue }
            guard kernel_replace(&seat.pointee.owner, before, owner) else { continue }
            seat.pointee.seen = now
            seat.pointee.demands = (Demand.all, Demand.all)
            return index
        }
        return nil
    }

    /// Says what the owner of a seat wants, and that it will be heard of again within so many ns. Returns whether it has the
    /// seat: not, where it was silent for too long.
    package func say(_ down: UInt64, _ up: UInt64, at seat: Int, _ owner: UInt64, within lease: UInt64 = 0) -> Bool {
        guard table[seat].owner == owner else { return false }
        table[seat].demands = (down, up)
        table[seat].seen = Host.monotonicNanoseconds + lease
        return true
    }

    package func leave(_ seat: Int, _ owner: UInt64) {
        _ = kernel_replace(&table[seat].owner, owner, 0)
    }

    /// What live runs want, but for the one in this seat.
    package func demands(besides seat: Int) -> [(down: UInt64, up: UInt64)] {
        let now = Host.monotonicNanoseconds
        return (0..<GroupTable.seats).compactMap { index in
            let other = table[index]
            return index == seat || other.owner == 0 || isSilent(other, now) ? nil : (other.demands.0, other.demands.1)
        }
    }

    /// For tests: as if the owner had said nothing for long.
    func silence(_ seat: Int) { table[seat].seen = 0 }

    private func isSilent(_ seat: Seat, _ now: UInt64) -> Bool {
        // It may have spoken since.
        now > seat.seen && now - seat.seen > GroupTable.silence
    }
}
