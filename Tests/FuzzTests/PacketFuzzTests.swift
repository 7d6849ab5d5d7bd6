import CPrograms
import CTestSupport
import Glibc
import Kernel
import TestSupport
import Testing
import Units

@testable import Programs

@Suite(.serialized) struct PacketFuzzTests {
    /// In the kernel each packet is worth what the same C says on the host, and is counted once.
    @Test(arguments: Fuzzing.seeds, [true, false])
    func `a packet passes or is dropped, and is counted once`(seed: UInt64, onOldKernel: Bool) async {
        await #expect(processExitsWith: .success) { [seed, onOldKernel] in
            let kernel = onOldKernel ? KernelVersion(5, 10) : KernelVersion(6, 18)
            let free = try ProgramSet(for: kernel, .unlimited)
            let tight = try ProgramSet(for: kernel, .bytesPerSecond(1000))
            // Its device is only asked for: BPF_PROG_TEST_RUN sends nothing.
            let link = try QueueProgram(sharing: tight.memory.maps, for: .link)
            let filter = try QueueProgram(sharing: tight.memory.maps, for: .filter)
            tight.memory.useQueues(.down, true)
            try Fuzzing.run(seed: seed, times: 500) { random in
                let sample = RandomPacket(&random)
                let input = "seed \(seed): \(sample)"
                for direction in Direction.allCases {
                    let drop: CInt = direction == .down ? 0 : 2
                    try expectOneCount(free, direction, sample, verdicts: [1], input)
                    try expectOneCount(tight, direction, sample, verdicts: sample.isFree ? [1] : [1, drop], input)
                }
                // No socket of the run is there to take any of them.
                #expect(try sample.call(link.descriptor) == -1, "\(input)")
                #expect(try sample.call(filter.descriptor) == 0, "\(input)")
            }
        }
    }
}

/// Calls the meter with a packet and looks at how its counters change.
private func expectOneCount(
    _ programs: borrowing ProgramSet, _ direction: Direction, _ sample: RandomPacket, verdicts: [CInt], _ input: String
) throws {
    var expected = programs.memory.counters(direction)
    let verdict = try sample.call(programs.descriptor(of: Hook.meter(direction)))
    #expect(verdicts.contains(verdict), "\(input): \(direction) \(verdict)")
    if verdict == 1 {
        expected.passedPackets += 1
        expected.passedPayloadBytes += UInt64(sample.worth.payload)
        expected.passedWireBytes += UInt64(sample.wireBytes)
    } else {
        expected.droppedPackets += 1
        expected.droppedPayloadBytes += UInt64(sample.worth.payload)
    }
    let counters = programs.memory.counters(direction)
    expected.activeNanoseconds = counters.activeNanoseconds
    #expect(counters == expected, "\(input): \(direction)")
    #expect(sample.worth.payload <= sample.bytes.count, "\(input)")
}

/// A packet of random bytes, or a sound one that was changed; maybe of many segments.
private struct RandomPacket: CustomStringConvertible {
    let bytes: [UInt8]
    let segments: UInt32
    let segmentSize: UInt32

    init(_ random: inout SeededGenerator) {
        bytes = random.below(8) == 0 ? random.bytes(1 + random.below(3000)) : RandomPacket.changed(&random)
        segments = random.below(2) == 0 ? 0 : UInt32(random.below(65_536))
        segmentSize = random.below(2) == 0 ? 0 : UInt32(random.below(65_536))
    }

    private static let corpus =
        (PacketCase.wellFormed + PacketCase.malformed).map(\.bytes)
        + (0...10).map { Header.ipv4(6, options: $0 * 4, Header.tcp(options: 40 - $0 * 4, [1])) }
        + [
            Header.ipv4(51, Header.data(40)), Header.ipv6(51, Header.data(40)),
            Header.ipv6(17, [0, 53, 0, 0, 0, 8, 0, 0]),
        ]

    private static func changed(_ random: inout SeededGenerator) -> [UInt8] {
        var bytes = random.mutated(corpus, tokens: [[0], [6], [17], [43], [44], [51], [60], [0, 0], [0x4f], [0xff]])
        // Where lengths, fragments, protocols and headers' lengths are.
        let place = random.pick([0, 2, 3, 4, 5, 6, 7, 9, 20, 32, 40, 41, 48, 52])
        if place < bytes.count, random.below(2) == 0 {
            bytes[place] = random.pick([0, 1, 4, 6, 17, 43, 44, 0x45, 0x4f, 50, 51, 58, 60, 0x60, 0xff])
        }
        return bytes.isEmpty ? [0] : bytes
    }

    var worth: packet {
        var result = packet()
        bytes.withUnsafeBufferPointer { bytes in
            guard let start = bytes.baseAddress else { return }
            let end = start + bytes.count
            packet_split(&result, start, end, UInt32(bytes.count), packet_transport(start, end))
        }
        return result
    }

    var wireBytes: UInt32 { withUnsafePointer(to: worth) { packet_wire_bytes($0, segments, segmentSize) } }

    /// Whether a limit on payload lets it through in any case.
    var isFree: Bool { worth.payload == 0 }

    /// What the program returns, which may be negative.
    func call(_ program: CInt) throws -> CInt {
        let frame = PacketCase("", bytes, payload: 0).frame
        errno = 0
        let result = test_run_program(program, frame, UInt32(frame.count), segments, segmentSize, 1)
        guard result >= 0 || errno == 0 else { throw SystemError("run", "\(self)") }
        return result
    }

    var description: String { "\(bytes) in \(segments) segments of \(segmentSize)" }
}

extension ProgramSet {
    fileprivate init(for kernel: KernelVersion, _ rate: Rate) throws {
        let limits = Limits(Rates(down: rate, up: rate), burst: try TimeSpan("1ms"), counting: .payload)
        try self.init(for: kernel, sharing: RunMemory(for: kernel, limits))
    }
}
