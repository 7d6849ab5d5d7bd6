import CPrograms
import Kernel
import Synchronization
import Testing

/// A bucket's state at a fixed address, as CPUs share it.
private final class SharedBucket: @unchecked Sendable {
    let due = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)

    init() {
        due.initialize(to: 0)
    }

    deinit {
        due.deallocate()
    }
}

@Suite struct BucketRaceTests {
    @Test func `threads that race on a busy bucket are all charged`() {
        let bucket = SharedBucket()
        let now: UInt64 = 1_000_000_000
        let turns = 500_000
        race(2) { number in
            for _ in 0..<turns { _ = bucket_admit(bucket.due, now, UInt64(number + 1), 60_000_000_000) }
        }
        #expect(bucket.due.pointee == now + UInt64(3 * turns))
    }

    @Test func `threads that race to wake an idle bucket are all charged`() {
        let bucket = SharedBucket()
        let barrier = Barrier(2)
        let lost = Atomic(0)
        race(2) { number in
            for round in 1...30_000 {
                let now = UInt64(round) * 1_000_000
                barrier.wait()
                _ = bucket_admit(bucket.due, now, 1000, 1_000_000_000)
                barrier.wait()
                if number == 0 && bucket.due.pointee != now + 2000 { lost.add(1, ordering: .relaxed) }
            }
        }
        #expect(lost.load(ordering: .relaxed) == 0)
    }

    @Test func `the schedule of a clock that runs is never behind what passed`() {
        let bucket = SharedBucket()
        let total = Atomic<UInt64>(0)
        let start = Host.monotonicNanoseconds
        race(4) { _ in
            var passed: UInt64 = 0
            for turn in 0..<30_000 {
                let cost = UInt64(turn % 2000)
                if bucket_admit(bucket.due, Host.monotonicNanoseconds, cost, 1_000_000) { passed += cost }
            }
            total.add(passed, ordering: .relaxed)
        }
        #expect(bucket.due.pointee >= start + total.load(ordering: .relaxed))
    }
}
