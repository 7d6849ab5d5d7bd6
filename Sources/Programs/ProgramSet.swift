import CKernel
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
    /// Packets that TCP was made to keep for later; uploads only.
    public var deferredPackets: UInt64 = 0
    /// Time from the first packet that was charged to the last; 0 where nothing is limited.
    public var activeNanoseconds: UInt64 = 0
    /// Packets, and bytes from their network headers on, that the parent's program saw; nil where it isn't attached.
    public var witnessPackets: UInt64?
    public var witnessBytes: UInt64?

    public init() {}

    /// Bytes that passed, as a limit counts them.
    public func passedBytes(_ counting: Counting) -> UInt64 {
        counting == .wire ? passedWireBytes : passedPayloadBytes
    }

    /// Each call of the run's program passes, drops or defers one packet.
    public var programCalls: UInt64 { passedPackets + droppedPackets + deferredPackets }
}

/// Programs that are in the kernel.
public protocol LoadedPrograms: ~Copyable {
    /// The file descriptor of a program, for as long as the set lives.
    func descriptor(of hook: Hook) -> CInt
}

/// The BPF programs that hold the limits of one run, loaded, and the memory they share with us.
public struct ProgramSet: LoadedPrograms, ~Copyable {
    let object: BPFObject
    let shared: SharedMemory

    /// Loads the programs. Nothing is attached yet.
    public init(for kernel: KernelVersion, down: Limit, up: Limit) throws(LoadError) {
        let object = try BPFObject(programs_limits(ProgramSet.hasCompareAndExchange(kernel)))
        try object.load()
        shared = try SharedMemory(of: object)
        self.object = object
        setLimits(down: down, up: up)
    }

    /// Changes both limits at once, from the next packet on.
    public func setLimits(down: Limit, up: Limit) {
        let run = shared.run
        let now = Host.monotonicNanoseconds
        if run.pointee.slot == 0 {
            run.pointee.limits.1 = (down.encoded, up.encoded)
        } else {
            run.pointee.limits.0 = (down.encoded, up.encoded)
        }
        kernel_fence()
        run.pointee.slot = 1 - run.pointee.slot
        // A debt at the old rate may be minutes at the new one.
        run.pointee.meter.0.tat = min(run.pointee.meter.0.tat, now)
        run.pointee.meter.1.tat = min(run.pointee.meter.1.tat, now)
    }

    /// The limit that holds now.
    public func rate(_ direction: Direction) -> Rate {
        let limits = shared.run.pointee.slot == 0 ? shared.run.pointee.limits.0 : shared.run.pointee.limits.1
        let rate = direction == .down ? limits.0.rate : limits.1.rate
        return rate == 0 ? .unlimited : .bytesPerSecond(rate)
    }

    private static func hasCompareAndExchange(_ kernel: KernelVersion) -> Bool { kernel >= KernelVersion(5, 12) }

    /// Which of the two sets of programs a kernel gets, and why, for people.
    public static func variant(for kernel: KernelVersion) -> String {
        hasCompareAndExchange(kernel)
            ? "with cmpxchg (Linux 5.12 and newer)" : "without cmpxchg (new in Linux 5.12)"
    }

    public func descriptor(of hook: Hook) -> CInt { object.descriptor(of: hook) }

    /// The descriptors that a process needs to load a `PlaneSet`, too.
    public var mapDescriptors: [CInt] { Map.all.map { object.descriptor(ofMap: $0) } }

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
        counters.deferredPackets = direction == .down ? 0 : shared.run.pointee.tcp.deferred_packets
        counters.activeNanoseconds = meter.last_ns - min(meter.first_ns, meter.last_ns)
        return counters
    }
}
