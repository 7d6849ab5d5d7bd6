import Kernel
import TestSupport
import Testing
import Units

@testable import Programs

extension KernelTests {
    @Suite struct GroupBudgetTests {
        /// Programs of two runs in a group, which may have `burst` ns ahead of the clock.
        private func withPair(
            _ kernel: KernelVersion, _ rate: Rate = .bytesPerSecond(1), own: Rate = .bytesPerSecond(1_000_000_000),
            burst: UInt64 = 1_000_000, _ body: (borrowing ProgramSet, borrowing ProgramSet) throws -> Void
        ) throws {
            let limits = Limits(Rates(down: own, up: own), burst: try TimeSpan("200ms"), counting: .payload)
            let one = try ProgramSet(for: kernel, limits, budget: .new)
            let group = try #require(one.memory.group)
            let other = try ProgramSet(for: kernel, limits, budget: .shared(group.descriptor.rawValue))
            group.rates = Rates(down: rate, up: rate)
            for direction in Direction.allCases { group.setBurst(direction, nanoseconds: burst) }
            try body(one, other)
        }

        @Test(arguments: kernels, Direction.allCases)
        func `what one run of a group sends, the others can't`(kernel: KernelVersion, direction: Direction) throws {
            try withPair(kernel) { one, other throws in
                #expect(try one.call(.meter(direction), .data) == 1)
                #expect(
                    (one.memory.group?.lead(direction) ?? 0) > 1_000_000_000
                        && (one.memory.group?.lead(direction) ?? 0) <= (other.memory.group?.lead(direction) ?? 0)
                            + 1_000_000_000
                )
                for _ in 1...3 {
                    #expect(try other.call(.meter(direction), .data) == (direction == .down ? 0 : 2))
                }
                #expect(other.meter(direction).droppedPackets == 3 && other.meter(direction).passedPackets == 0)
                #expect(try other.call(.meter(direction == .down ? .up : .down), .data) == 1)
            }
        }

        @Test(arguments: kernels, Direction.allCases)
        func `a run without a limit of its own is held to the group's`(kernel: KernelVersion, direction: Direction)
            throws
        {
            try withPair(kernel, own: .unlimited) { one, other throws in
                #expect(try one.call(.meter(direction), .data) == 1)
                #expect(try other.call(.meter(direction), .data) == (direction == .down ? 0 : 2))
                one.memory.group?.rates = Rates(down: .unlimited, up: .unlimited)
                for _ in 1...3 { #expect(try other.call(.meter(direction), .data) == 1) }
            }
        }

        @Test(arguments: kernels)
        func `what the group refuses isn't charged to the run`(kernel: KernelVersion) throws {
            try withPair(kernel, own: .bytesPerSecond(100_000)) { one, other throws in
                try one.call(.meter(.down), .data)
                #expect(try other.call(.meter(.down), .data, times: 1000) == 0)
                one.memory.group?.rates = Rates(down: .unlimited, up: .unlimited)
                #expect(try other.call(.meter(.down), .data) == 1)
            }
        }

        @Test(arguments: kernels)
        func `what the run's own limit refuses isn't charged to the group`(kernel: KernelVersion) throws {
            try withPair(kernel, .bytesPerSecond(1_000_000), own: .bytesPerSecond(1), burst: 1_000_000_000) {
                one, other throws in
                try one.call(.meter(.down), .data, times: 10_000)
                #expect(one.meter(.down).passedPackets == 1 && (one.memory.group?.lead(.down) ?? 0) < 10_000_000)
                #expect(try other.call(.meter(.down), .data) == 1)
            }
        }

        @Test(arguments: kernels)
        func `segments that carry nothing pass an empty budget`(kernel: KernelVersion) throws {
            try withPair(kernel) { one, other throws in
                try one.call(.meter(.up), .data)
                for sample in PacketCase.bareTCP { #expect(try other.call(.meter(.up), sample) == 1) }
            }
        }

        @Test func `a run can use no more than its group has`() throws {
            try withPair(KernelVersion(6, 18), .bytesPerSecond(500), own: .bytesPerSecond(1000)) { one, other throws in
                #expect(one.memory.mostRates.down == .bytesPerSecond(500))
                one.memory.group?.rates = Rates(down: .unlimited, up: .bytesPerSecond(2000))
                #expect(
                    other.memory.mostRates.down == .bytesPerSecond(1000)
                        && other.memory.mostRates.up == .bytesPerSecond(1000))
                other.memory.asked = .unlimited
                #expect(other.memory.mostRates.down == .unlimited && other.memory.mostRates.up == .bytesPerSecond(2000))
            }
        }

        @Test func `a debt stays the same in bytes where the rate rises, and never grows`() throws {
            let programs = try ProgramSet(for: KernelVersion(6, 18), .bytesPerSecond(100), burst: "1ms")
            func lead() -> Double {
                let tat = programs.memory.run.pointee.meter.0.tat
                return (Double(tat) - Double(Host.monotonicNanoseconds)) / 1e9
            }
            func allot(_ rate: UInt64) { programs.memory.rates = Rates(down: .bytesPerSecond(rate)) }
            try programs.call(.meter(.down), .data)
            let debt = Double(PacketCase.data.payload) / 100
            #expect(debt - 1...debt ~= lead())
            allot(1000)
            #expect(debt / 10 - 1...debt / 10 ~= lead())
            allot(10)
            #expect(debt / 10 - 1...debt / 10 ~= lead())
        }
    }
}
