import Kernel
import TestSupport
import Testing
import Units

@testable import Programs

extension KernelTests {
    @Suite struct ConcurrencyTests {
        private static let times = 300_000

        /// Calls programs from a thread each, all at once.
        private func raceAll(_ calls: [Calls]) {
            race(calls.count) { number in
                #expect(throws: Never.self) { try calls[number].run(ConcurrencyTests.times) }
            }
        }

        @Test(arguments: kernels, Direction.allCases)
        func `counters are exact when all CPUs count`(kernel: KernelVersion, direction: Direction) throws {
            let programs = try ProgramSet(for: kernel)
            let total = UInt64(2 * ConcurrencyTests.times)
            for hook in [Hook.meter(direction), .witness(direction)] {
                let calls = Calls(program: programs.descriptor(of: hook), .data)
                raceAll([calls, calls])
            }
            #expect(programs.meter(direction) == passed(.data, total))
            #expect(programs.memory.counters(direction).witnessPackets == total)
            #expect(programs.memory.counters(direction).witnessBytes == total * UInt64(PacketCase.data.length))
        }

        @Test(arguments: kernels)
        func `every packet over the limit is counted as dropped`(kernel: KernelVersion) throws {
            let threads: UInt64 = 3
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(1), burst: "1ms")
            let calls = Calls(program: programs.descriptor(of: Hook.meter(.up)), .data)
            raceAll([Calls](repeating: calls, count: Int(threads)))
            let counters = programs.meter(.up)
            #expect(counters.programCalls == threads * UInt64(ConcurrencyTests.times))
            // Each CPU may pass the packet that it has in hand.
            #expect((1...threads).contains(counters.passedPackets))
            #expect(counters.droppedPayloadBytes == counters.droppedPackets * UInt64(PacketCase.data.payload))
        }
    }
}
