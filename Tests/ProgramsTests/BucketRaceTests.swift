import CPrograms
import Glibc
import Synchronization
import Testing

/// A bucket's state at a fixed address, as CPUs share it.
private final class SharedBucket: @unchecked Sendable {
    let due = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    let round = Atomic(0)
    let arrived = Atomic(0)

    init() {
        due.initialize(to: 0)
    }

    deinit {
        due.deallocate()
    }

    /// Runs `body` in `count` threads to their end.
    func race(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        let threads = (0..<count).map { number -> pthread_t in
            var thread = pthread_t()
            let context = Unmanaged.passRetained(Work { body(number) }).toOpaque()
            pthread_create(
                &thread, nil,
                { work in
                    work.map { Unmanaged<Work>.fromOpaque($0).takeRetainedValue().body() }
                    return nil
                }, context)
            return thread
        }
        for thread in threads { pthread_join(thread, nil) }
    }

    private final class Work {
        let body: () -> Void

        init(_ body: @escaping () -> Void) {
            self.body = body
        }
    }
}

@Suite struct BucketRaceTests {
    @Test func `threads that race on a busy bucket are all charged`() {
        let bucket = SharedBucket()
        let now: UInt64 = 1_000_000_000
        bucket.race(4) { number in
            for turn in 0..<50_000 {
                _ = bucket_admit(bucket.due, now, UInt64(number + turn % 7 + 1), 60_000_000_000)
            }
        }
        let costs = (0..<4).map { number in (0..<50_000).reduce(0) { $0 + number + $1 % 7 + 1 } }
        #expect(bucket.due.pointee == now + UInt64(costs.reduce(0, +)))
    }

    @Test func `threads that race to wake an idle bucket are all charged`() {
        let bucket = SharedBucket()
        let rounds = 30_000
        let lost = Atomic(0)
        bucket.race(2) { number in
            for round in 0..<rounds {
                let now = UInt64(round + 1) * 1_000_000
                bucket.arrived.add(1, ordering: .sequentiallyConsistent)
                while bucket.arrived.load(ordering: .sequentiallyConsistent) < 4 * round + 2 { sched_yield() }
                _ = bucket_admit(bucket.due, now, 1000, 1_000_000_000)
                bucket.arrived.add(1, ordering: .sequentiallyConsistent)
                while bucket.arrived.load(ordering: .sequentiallyConsistent) < 4 * round + 4 { sched_yield() }
                if number == 0 && bucket.due.pointee != now + 2000 { lost.add(1, ordering: .relaxed) }
            }
        }
        #expect(lost.load(ordering: .relaxed) == 0)
    }

    @Test func `the schedule of a clock that runs is never behind what passed`() {
        let bucket = SharedBucket()
        let total = Atomic<UInt64>(0)
        let start = monotonicNanoseconds()
        bucket.race(4) { _ in
            var passed: UInt64 = 0
            for turn in 0..<30_000 {
                let cost = UInt64(turn % 2000)
                if bucket_admit(bucket.due, monotonicNanoseconds(), cost, 1_000_000) { passed += cost }
            }
            total.add(passed, ordering: .relaxed)
        }
        #expect(bucket.due.pointee >= start + total.load(ordering: .relaxed))
    }
}

private func monotonicNanoseconds() -> UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}
