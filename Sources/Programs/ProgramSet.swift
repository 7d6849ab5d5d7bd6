import CLibBPF
import CPrograms
import Glibc
import Kernel
import SystemPackage
import Units

/// What a limit counts.
public enum Counting: String, Sendable, CaseIterable {
    /// Bytes behind the transport header: what wget shows.
    case payload
    /// Layer 2 frames.
    case wire
}

/// What one direction may do.
public struct Limit: Sendable {
    public let rate: Rate
    public let burst: TimeSpan
    public let counting: Counting

    public init(rate: Rate, burst: TimeSpan, counting: Counting) {
        self.rate = rate
        self.burst = burst
        self.counting = counting
    }

    /// The limit in the form that the programs read.
    var encoded: throttle_limit {
        let bytesPerSecond: UInt64 = if case .bytesPerSecond(let rate) = rate { rate } else { 0 }
        return bucket_limit(bytesPerSecond, burst.nanoseconds, counting == .wire)
    }
}

/// What one direction did so far.
public struct Counters: Sendable, Equatable {
    public var passedPackets: UInt64 = 0
    public var passedPayloadBytes: UInt64 = 0
    public var passedWireBytes: UInt64 = 0
    public var droppedPackets: UInt64 = 0
    public var droppedPayloadBytes: UInt64 = 0
    /// Time from the first packet that was charged to the last; 0 where nothing is limited.
    public var activeNanoseconds: UInt64 = 0
    /// Packets, and bytes from their network headers on, that the parent's program saw; nil where it isn't attached.
    public var witnessPackets: UInt64?
    public var witnessBytes: UInt64?

    public init() {}

    /// Each call of the run's program passes or drops one packet.
    public var programCalls: UInt64 { passedPackets + droppedPackets }
}

/// The BPF programs of one run, loaded, and the memory they share with us.
public struct ProgramSet: ~Copyable {
    private let object: BPFObject
    private let shared: SharedMemory

    /// Loads the programs. Nothing is attached yet.
    public init(for kernel: KernelVersion, down: Limit, up: Limit) throws(LoadError) {
        LibBPFLog.start()
        let object = try BPFObject(programs_object(ProgramSet.hasCompareAndExchange(kernel)))
        if bpf_object__load(object.pointer) != 0 { throw LoadError(errno: Errno(rawValue: errno)) }
        shared = try SharedMemory(of: object)
        self.object = object
        shared.run.pointee.limit = (down.encoded, up.encoded)
    }

    private static func hasCompareAndExchange(_ kernel: KernelVersion) -> Bool { kernel >= KernelVersion(5, 12) }

    /// Which of the two sets of programs a kernel gets, and why, for people.
    public static func variant(for kernel: KernelVersion) -> String {
        hasCompareAndExchange(kernel)
            ? "with cmpxchg (Linux 5.12 and newer)" : "without cmpxchg (new in Linux 5.12)"
    }

    /// The file descriptor of a program, for as long as the set lives.
    func descriptor(of hook: Hook) -> CInt {
        bpf_program__fd(bpf_object__find_program_by_name(object.pointer, hook.programName))
    }

    public func counters(_ direction: Direction) -> Counters {
        // The witness first: what it saw, the run's program has seen before.
        let witness = direction == .down ? shared.run.pointee.witness.0 : shared.run.pointee.witness.1
        let meter = direction == .down ? shared.run.pointee.meter.0 : shared.run.pointee.meter.1
        var counters = Counters()
        counters.witnessPackets = witness.packets
        counters.witnessBytes = witness.bytes
        counters.passedPackets = meter.passed_packets
        counters.passedPayloadBytes = meter.passed_payload_bytes
        counters.passedWireBytes = meter.passed_wire_bytes
        counters.droppedPackets = meter.dropped_packets
        counters.droppedPayloadBytes = meter.dropped_payload_bytes
        counters.activeNanoseconds = meter.last_ns - min(meter.first_ns, meter.last_ns)
        return counters
    }
}

/// A BPF object of libbpf.
struct BPFObject: ~Copyable {
    let pointer: OpaquePointer

    init(_ embedded: programs_object) throws(LoadError) {
        guard let pointer = bpf_object__open_mem(embedded.bytes, embedded.size, nil) else {
            throw LoadError(errno: Errno(rawValue: errno))
        }
        self.pointer = pointer
    }

    deinit {
        bpf_object__close(pointer)
    }
}

/// The map of a loaded object that user space and programs both write, mapped.
struct SharedMemory: ~Copyable {
    let run: UnsafeMutablePointer<throttle_run>

    init(of object: borrowing BPFObject) throws(LoadError) {
        let map = bpf_object__find_map_fd_by_name(object.pointer, ".data.run")
        let size = MemoryLayout<throttle_run>.size
        let start = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0)
        guard let start, start != MAP_FAILED else { throw LoadError(errno: Errno(rawValue: errno)) }
        run = start.assumingMemoryBound(to: throttle_run.self)
    }

    deinit {
        munmap(run, MemoryLayout<throttle_run>.size)
    }
}
