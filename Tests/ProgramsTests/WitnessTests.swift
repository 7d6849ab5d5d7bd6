import Kernel
import TestSupport
import Testing
import Units

@testable import Programs

extension KernelTests {
    @Suite struct WitnessTests {
        @Test(arguments: kernels, Direction.allCases)
        func `the witness passes and counts everything`(kernel: KernelVersion, direction: Direction) throws {
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(1), burst: "1ms")
            var bytes: UInt64 = 0
            for (index, sample) in (PacketCase.wellFormed + PacketCase.malformed).enumerated() {
                #expect(try programs.call(.witness(direction), sample, times: 2) == 1, "\(sample.testDescription)")
                bytes += 2 * UInt64(sample.length)
                let counters = programs.memory.counters(direction)
                #expect(counters.witnessPackets == UInt64(2 * index + 2))
                #expect(counters.witnessBytes == bytes)
            }
            #expect(programs.meter(direction) == Counters())
            #expect(programs.memory.counters(direction == .down ? .up : .down).witnessPackets == 0)
        }
    }
}
