import CPrograms
import CTestSupport
import Kernel
import SystemPackage
import TestSupport
import Testing
import Units

@testable import Programs

extension KernelTests {
    @Suite struct ProgramSetTests {
        /// 5.12, or 5.18 on arm64.
        private let first = ProgramSet.firstWithCompareAndExchange
        private var last: KernelVersion { KernelVersion(5, first.minor - 1) }

        @Test func `kernels before 5.12, on arm64 5.18, get programs without compare and swap`() throws {
            #expect(try length(on: KernelVersion(5, 10)) == length(on: last))
            #expect(try length(on: last) != length(on: first))
            #expect(try length(on: first) == length(on: KernelVersion(7, 0)))
            #expect(compareAndSwaps(in: programs_limits(true, true)) > 0)
            #expect(compareAndSwaps(in: programs_limits(true, false)) > 0)
            #expect(compareAndSwaps(in: programs_limits(false, false)) == 0)
        }

        @Test func `kernels before 5.17 get programs without bpf_loop`() throws {
            let loop = max(first, KernelVersion(5, 17))
            let before = KernelVersion(5, loop.minor - 1)
            #expect(try length(on: min(first, before), .up) == length(on: before, .up))
            #expect(try length(on: before, .up) != length(on: loop, .up))
            #expect(try length(on: loop, .up) == length(on: KernelVersion(7, 0), .up))
        }

        /// Bytes of a meter's program as the kernel has it.
        private func length(on kernel: KernelVersion, _ direction: Direction = .down) throws -> UInt32 {
            let programs = try ProgramSet(for: kernel)
            return try information(programs.descriptor(of: Hook.meter(direction))).xlated_prog_len
        }

        /// Instructions in the object that Linux 5.12 brought: BPF_STX | BPF_ATOMIC | BPF_DW, BPF_CMPXCHG.
        private func compareAndSwaps(in object: programs_object) -> Int {
            let instructions = UnsafeRawBufferPointer(start: object.bytes, count: object.size)
            return stride(from: 0, to: object.size - 7, by: 8).count { offset in
                instructions[offset] == 0xdb && instructions.load(fromByteOffset: offset + 4, as: Int32.self) == 0xf1
            }
        }

        @Test func `planes count what was told`() throws {
            let programs = try ProgramSet(for: KernelVersion(6, 18), .bytesPerSecond(1000))
            #expect(programs.memory.planeCounters == PlaneCounters())
            programs.memory.noteQueue(.down, delayNanoseconds: 100, droppedPackets: 3)
            programs.memory.noteQueue(.down, delayNanoseconds: 300, droppedPackets: 4)
            programs.memory.noteQueue(.down, delayNanoseconds: 200, droppedPackets: 4)
            var expected = PlaneCounters()
            (expected.downQueue.delayAverageNanoseconds, expected.downQueue.delayMaximumNanoseconds) = (200, 300)
            (expected.downQueue.droppedPackets, expected.heldDownloads) = (4, true)
            #expect(programs.memory.planeCounters == expected)
        }

        @Test func `programs have names that bpftool shows whole`() throws {
            let programs = try ProgramSet()
            let hooks = Direction.allCases.flatMap { [Hook.meter($0), Hook.witness($0)] }
            let names = try hooks.map { hook in
                withUnsafeBytes(of: try information(programs.descriptor(of: hook)).name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
            }
            #expect(names == ["throttle_down", "throttle_wit_dn", "throttle_up", "throttle_wit_up"])
            #expect(names == hooks.map(\.programName))
        }

        @Test func `runs share no counters`() throws {
            let first = try ProgramSet()
            let second = try ProgramSet()
            try first.call(.meter(.down), .data)
            #expect(second.memory.counters(.down).programCalls == 0)
            #expect(first.memory.counters(.down).programCalls == 1)
        }

        @Test func `a process without capabilities is told that BPF is out of its reach`() async {
            await #expect(processExitsWith: .success) {
                try #require(test_keep_capabilities(0) == 0)
                let error = #expect(throws: LoadError.self) { _ = try ProgramSet() }
                #expect(error?.errno == .notPermitted)
                #expect(
                    error?.description.hasPrefix("can't load BPF programs: Operation not permitted; BPF is") == true)
            }
        }
    }
}

@Suite struct LimitTests {
    @Test func `a limit is encoded as the programs read it`() throws {
        let burst = try TimeSpan("1.5s")
        let (limit, unlimited) = Rates(down: .bytesPerSecond(50_000)).encoded(burst, .wire)
        #expect(limit.rate == 50_000)
        #expect(limit.burst_ns == 1_500_000_000)
        #expect(limit.count_wire == 1)
        #expect(limit.mult >> limit.shift == 20_000)
        #expect(Rates(down: .bytesPerSecond(50_000)).encoded(burst, .payload).0.count_wire == 0)
        #expect(unlimited.rate == 0 && unlimited.mult == 0)
    }
}
