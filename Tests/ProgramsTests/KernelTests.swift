import CTestSupport
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing
import Units

@testable import Programs

/// Everything that loads programs: libbpf's log is one for the process, so only one test at a time may.
@Suite(.serialized) enum KernelTests {
    /// A kernel for each of the two BPF objects.
    static let kernels = [KernelVersion(5, 10), KernelVersion(6, 18)]
}

extension ProgramSet {
    /// Programs with a memory of their own.
    init(
        for kernel: KernelVersion, _ limits: Limits, scope: Scope = .all, budget: GroupBudget = .none
    ) throws(LoadError) {
        try self.init(for: kernel, sharing: RunMemory(for: kernel, limits, scope: scope, budget: budget))
    }

    /// Programs with the same limit in both directions.
    init(
        for kernel: KernelVersion = KernelVersion(6, 18), _ rate: Rate = .unlimited, burst: String = "200ms",
        counting: Counting = .payload
    ) throws {
        try self.init(
            for: kernel, Limits(Rates(down: rate, up: rate), burst: try TimeSpan(burst), counting: counting))
        memory.hasWitness = true
    }

    /// Calls a program `times` in a row with a packet. Returns what the last call returned.
    @discardableResult
    func call(
        _ hook: Hook, _ sample: PacketCase, times: Int = 1, segments: UInt32 = 0, segmentSize: UInt32 = 0
    ) throws -> CInt {
        try Calls(program: descriptor(of: hook), sample, segments, segmentSize).run(times)
    }

    /// Counters of the run's own program alone.
    func meter(_ direction: Direction) -> Counters {
        var counters = memory.counters(direction)
        (counters.witnessPackets, counters.witnessBytes, counters.activeNanoseconds) = (nil, nil, 0)
        return counters
    }
}

/// Calls of one program, which any thread can make.
struct Calls: Sendable {
    private let program: CInt
    private let frame: [UInt8]
    private let segments: UInt32
    private let segmentSize: UInt32

    init(program: CInt, _ sample: PacketCase, _ segments: UInt32 = 0, _ segmentSize: UInt32 = 0) {
        self.program = program
        self.segments = segments
        self.segmentSize = segmentSize
        frame = sample.frame
    }

    @discardableResult
    func run(_ times: Int) throws -> CInt {
        let result = test_run_program(program, frame, UInt32(frame.count), segments, segmentSize, UInt32(times))
        guard result >= 0 else { throw SystemError("run", "program \(program) with \(frame.count) bytes") }
        return result
    }

    /// What a program of a device's ingress returns, which may be negative.
    func action(_ times: Int) throws -> CInt {
        errno = 0
        let result = test_run_program(program, frame, UInt32(frame.count), segments, segmentSize, UInt32(times))
        guard result >= 0 || errno == 0 else { throw SystemError("run", "program \(program)") }
        return result
    }
}

/// What the program counts when `packets` like `sample` pass.
func passed(_ sample: PacketCase, _ packets: UInt64, wire: UInt64? = nil) -> Counters {
    var counters = Counters()
    counters.passedPackets = packets
    counters.passedPayloadBytes = packets * UInt64(sample.payload)
    counters.passedWireBytes = wire ?? packets * UInt64(sample.length + 14)
    return counters
}
