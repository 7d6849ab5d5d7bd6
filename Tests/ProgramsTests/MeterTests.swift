import Glibc
import Kernel
import TestSupport
import Testing
import Units

@testable import Programs

extension KernelTests {
    @Suite struct MeterTests {
        @Test(arguments: kernels, Direction.allCases)
        func `payload, wire bytes and packets of every kind are exact`(
            kernel: KernelVersion, direction: Direction
        ) throws {
            for sample in PacketCase.wellFormed + PacketCase.malformed {
                let programs = try ProgramSet(for: kernel)
                #expect(try programs.call(.meter(direction), sample, times: 3) == 1, "\(sample.testDescription)")
                #expect(programs.meter(direction) == passed(sample, 3), "\(sample.testDescription)")
                #expect(programs.meter(direction == .down ? .up : .down) == Counters())
            }
        }

        @Test(arguments: kernels)
        func `each segment of a GSO packet has its headers counted`(kernel: KernelVersion) throws {
            let sample = PacketCase.data
            for (segments, size, count) in [(10, 145, 10), (0, 145, 10), (0, 144, 11), (1, 0, 1), (7, 0, 7)] {
                let programs = try ProgramSet(for: kernel)
                try programs.call(.meter(.down), sample, segments: UInt32(segments), segmentSize: UInt32(size))
                let wire = UInt64(sample.payload) + UInt64(count) * UInt64(sample.headers + 14)
                #expect(programs.meter(.down) == passed(sample, 1, wire: wire), "\(segments) segments of \(size)")
            }
        }

        @Test(arguments: kernels)
        func `data over the limit is dropped, with a signal to the sender on its way out`(
            kernel: KernelVersion
        ) throws {
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(1), burst: "1ms")
            for (direction, drop) in [(Direction.down, 0), (.up, 2)] as [(Direction, CInt)] {
                #expect(try programs.call(.meter(direction), .data) == 1)
                for sample in [PacketCase.data, .datagram] + PacketCase.malformed {
                    #expect(try programs.call(.meter(direction), sample) == drop, "\(sample.testDescription)")
                }
                var expected = passed(.data, 1)
                let dropped = [PacketCase.data, .datagram] + PacketCase.malformed
                expected.droppedPackets = UInt64(dropped.count)
                expected.droppedPayloadBytes = dropped.reduce(0) { $0 + UInt64($1.payload) }
                #expect(programs.meter(direction) == expected)
            }
        }

        @Test(arguments: kernels, Counting.allCases)
        func `segments that carry nothing pass far over the limit`(
            kernel: KernelVersion, counting: Counting
        ) throws {
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(1), burst: "1ms", counting: counting)
            for direction in Direction.allCases {
                try programs.call(.meter(direction), .data, times: 100)
                #expect(programs.meter(direction).droppedPackets == 99)
                for sample in PacketCase.bareTCP {
                    #expect(try programs.call(.meter(direction), sample, times: 100) == 1, "\(sample.testDescription)")
                }
                #expect(programs.meter(direction).droppedPackets == 99)
            }
        }

        @Test(arguments: kernels, Direction.allCases)
        func `without a limit nothing is dropped`(kernel: KernelVersion, direction: Direction) throws {
            let programs = try ProgramSet(for: kernel)
            #expect(try programs.call(.meter(direction), .data, times: 20_000) == 1)
            #expect(programs.meter(direction) == passed(.data, 20_000))
        }

        @Test(arguments: kernels, Direction.allCases)
        func `each direction has its own limit`(kernel: KernelVersion, direction: Direction) throws {
            let tight = Rate.bytesPerSecond(1)
            let rates = direction == .down ? Rates(down: tight) : Rates(up: tight)
            let programs = try ProgramSet(
                for: kernel, Limits(rates, burst: try TimeSpan("1ms"), counting: .payload))
            for each in Direction.allCases { try programs.call(.meter(each), .data, times: 10) }
            #expect(programs.meter(direction).droppedPackets == 9)
            #expect(programs.meter(direction == .down ? .up : .down) == passed(.data, 10))
        }

        @Test(arguments: kernels, [(Counting.payload, 500), (.wire, 500 + 40 + 8 + 14)])
        func `a limit charges what it counts`(kernel: KernelVersion, what: (counting: Counting, bytes: Int)) throws {
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(1000), burst: "60s", counting: what.counting)
            try programs.call(.meter(.up), .datagram, times: 1000)
            // The burst, and the packet that goes into debt; one more where the machine was slow.
            let expected = UInt64(60_000 / what.bytes + 1)
            #expect((expected...expected + 1).contains(programs.meter(.up).passedPackets))
        }

        @Test(arguments: kernels)
        func `on the wire an empty datagram is charged too`(kernel: KernelVersion) throws {
            let payload = try ProgramSet(for: kernel, .bytesPerSecond(1), burst: "1ms")
            try payload.call(.meter(.up), .emptyDatagram, times: 100)
            #expect(payload.meter(.up) == passed(.emptyDatagram, 100))
            let wire = try ProgramSet(for: kernel, .bytesPerSecond(1), burst: "1ms", counting: .wire)
            try wire.call(.meter(.up), .emptyDatagram, times: 100)
            #expect(wire.meter(.up).passedPackets == 1)
        }

        @Test(arguments: kernels)
        func `packets offered all the time get the limit and the burst`(kernel: KernelVersion) throws {
            let rate: UInt64 = 10_000_000
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(rate))
            let start = Host.monotonicNanoseconds
            while Host.monotonicNanoseconds - start < 300_000_000 {
                try programs.call(.meter(.down), .data, times: 500)
            }
            let elapsed = Double(Host.monotonicNanoseconds - start) / 1e9
            let share = Double(programs.meter(.down).passedPayloadBytes) / (Double(rate) * (elapsed + 0.2))
            #expect((0.8...1.001).contains(share), "after \(elapsed) s")
        }

        @Test(arguments: kernels)
        func `the time from the first charged packet to the last is told`(kernel: KernelVersion) throws {
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(1_000_000))
            #expect(programs.memory.counters(.down).activeNanoseconds == 0)
            let start = Host.monotonicNanoseconds
            try programs.call(.meter(.down), .data)
            #expect(programs.memory.counters(.down).activeNanoseconds == 0)
            usleep(20_000)
            try programs.call(.meter(.down), .ack)
            #expect(programs.memory.counters(.down).activeNanoseconds == 0)
            try programs.call(.meter(.down), .data)
            #expect(
                (20_000_000...Host.monotonicNanoseconds - start).contains(
                    programs.memory.counters(.down).activeNanoseconds))
        }
    }
}
