import Kernel
import Testing
import Units

@testable import Programs

extension KernelTests {
    @Suite struct ConcurrencyTests {
        private static let threads = 4
        private static let times = 200_000

        /// Calls programs from all threads at once, each `times`.
        private func race(_ calls: [Calls]) async throws {
            try await withThrowingTaskGroup { group in
                for call in calls { group.addTask { try call.run(ConcurrencyTests.times) } }
                try await group.waitForAll()
            }
        }

        @Test(arguments: kernels)
        func `counters are exact when all CPUs count`(kernel: KernelVersion) async throws {
            let programs = try ProgramSet(for: kernel)
            for direction in Direction.allCases {
                let meter = Calls(program: programs.descriptor(of: Hook(.meter, direction)), .data)
                let witness = Calls(program: programs.descriptor(of: Hook(.witness, direction)), .data)
                try await race([meter, meter, witness, witness])
                let total = UInt64(2 * ConcurrencyTests.times)
                #expect(programs.meter(direction) == passed(.data, total))
                #expect(programs.counters(direction).witnessPackets == total)
                #expect(programs.counters(direction).witnessBytes == total * UInt64(PacketCase.data.length))
            }
        }

        @Test(arguments: kernels)
        func `every packet over the limit is counted as dropped`(kernel: KernelVersion) async throws {
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(1), burst: "1ms")
            let calls = Calls(program: programs.descriptor(of: Hook(.meter, .up)), .data)
            try await race([Calls](repeating: calls, count: ConcurrencyTests.threads))
            let counters = programs.meter(.up)
            let total = UInt64(ConcurrencyTests.threads * ConcurrencyTests.times)
            #expect(counters.programCalls == total)
            // Each CPU may pass the packet that it has in hand.
            #expect((1...UInt64(ConcurrencyTests.threads)).contains(counters.passedPackets))
            #expect(counters.droppedPayloadBytes == counters.droppedPackets * UInt64(PacketCase.data.payload))
        }
    }
}
