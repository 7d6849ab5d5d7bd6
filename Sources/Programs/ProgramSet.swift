import CKernel
import CPrograms
import Kernel
import Units

/// What a limit counts.
public enum Counting: String, Sendable, CaseIterable {
    /// Bytes behind the transport header: what wget shows.
    case payload
    /// Layer 2 frames.
    case wire
}

/// What one direction may do. A program drops a packet, or has TCP keep it, once what passed is more than `burst` ahead of
/// `rate`, in bytes as `counting` has it.
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
        bucket_limit(rate.bytesPerSecond ?? 0, burst.nanoseconds, counting == .wire)
    }
}

/// What one direction did so far. A payload is what is behind the transport header, wire bytes are layer 2 frames.
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
    /// Packets of exempt peers, and their bytes from their network headers on; nothing else counts them.
    public var exemptPackets: UInt64 = 0
    public var exemptBytes: UInt64 = 0

    public init() {}

    /// Bytes that passed, as a limit counts them.
    public func passedBytes(_ counting: Counting) -> UInt64 {
        counting == .wire ? passedWireBytes : passedPayloadBytes
    }

    /// Each call of the run's program passes, drops or defers one packet.
    public var programCalls: UInt64 { passedPackets + droppedPackets + deferredPackets + exemptPackets }

    /// Whether there was traffic, and none of it with a peer that is limited.
    public var isAllExempt: Bool { exemptPackets > 0 && exemptPackets == programCalls }
}

/// Programs that are in the kernel.
public protocol LoadedPrograms: ~Copyable {
    /// The file descriptor of a program, for as long as the set lives.
    func descriptor(of hook: Hook) -> CInt
}

/// The BPF programs that hold the limits of one run, loaded, and the memory they share with us.
public struct ProgramSet: LoadedPrograms, ~Copyable {
    let object: BPFObject
    let shared: SharedMemory<throttle_run>
    let group: SharedMemory<throttle_group>
    /// Whether the run's packets are charged to its group's budget, too.
    public let isGrouped: Bool

    /// Loads the programs. Nothing is attached yet.
    public init(
        for kernel: KernelVersion, down: Limit, up: Limit, scope: Scope = .all, budget: GroupBudget = .none
    ) throws(LoadError) {
        let object = try BPFObject(programs_limits(ProgramSet.hasCompareAndExchange(kernel)))
        if case .shared(let descriptor) = budget { try object.use(descriptor, forMap: Map.group) }
        let isGrouped = if case .none = budget { false } else { true }
        try object.declare(scope, isGrouped: isGrouped)
        try object.load()
        try object.fill(scope)
        let shared = try SharedMemory<throttle_run>(of: object, Map.run)
        let group = try SharedMemory<throttle_group>(of: object, Map.group)
        self.shared = shared
        self.isGrouped = isGrouped
        self.group = group
        self.object = object
        setLimits(down: down, up: up)
    }

    /// Notes what the run's user asked for, and limits the run to it, from the next packet on.
    public func setLimits(down: Limit, up: Limit) {
        note(asked: down.rate, up.rate)
        allot(down: down, up: up)
    }

    /// Notes what the run's user asked for; what holds stays.
    public func note(asked down: Rate, _ up: Rate) {
        shared.value.pointee.asked = (down.bytesPerSecond ?? 0, up.bytesPerSecond ?? 0)
    }

    /// Limits the run, in both directions at once, from the next packet on.
    public func allot(down: Limit, up: Limit) {
        let run = shared.value
        let before = run.pointee.slot == 0 ? run.pointee.limits.0 : run.pointee.limits.1
        let after = (down.encoded, up.encoded)
        if run.pointee.slot == 0 { run.pointee.limits.1 = after } else { run.pointee.limits.0 = after }
        kernel_fence()
        run.pointee.slot = 1 - run.pointee.slot
        let now = Host.monotonicNanoseconds
        ProgramSet.convertDebt(&run.pointee.meter.0.tat, from: before.0.rate, to: after.0.rate, now)
        ProgramSet.convertDebt(&run.pointee.meter.1.tat, from: before.1.rate, to: after.1.rate, now)
    }

    /// Keeps a debt the same in bytes where the rate rises: of minutes at the old one, seconds are left. Where it falls,
    /// it stays as long as it was.
    private static func convertDebt(_ tat: inout UInt64, from before: UInt64, to after: UInt64, _ now: UInt64) {
        if tat <= now || (after > 0 && after <= before) { return }
        tat = after == 0 ? now : now + UInt64(Double(tat - now) * Double(before) / Double(after))
    }

    /// What the run may use at most: what was asked for, and no more than its group has.
    public func rate(_ direction: Direction) -> Rate {
        let own = Rate(bytesPerSecond: direction.pick(from: shared.value.pointee.asked))
        return isGrouped ? min(own, groupRate(direction)) : own
    }

    private static func hasCompareAndExchange(_ kernel: KernelVersion) -> Bool { kernel >= KernelVersion(5, 12) }

    /// Which of the two sets of programs a kernel gets, and why, for people.
    public static func variant(for kernel: KernelVersion) -> String {
        hasCompareAndExchange(kernel)
            ? "with cmpxchg (Linux 5.12 and newer)" : "without cmpxchg (new in Linux 5.12)"
    }

    public func descriptor(of hook: Hook) -> CInt { object.descriptor(of: hook) }

    /// The descriptors that a process needs to load a `PlaneSet`, too.
    public var mapDescriptors: [CInt] { Map.common.map { object.descriptor(ofMap: $0) } }

    /// What a direction did so far.
    public func counters(_ direction: Direction) -> Counters {
        // The witness first: what it saw, the run's program has seen before.
        let witness = direction.pick(from: shared.value.pointee.witness)
        let meter = direction.pick(from: shared.value.pointee.meter)
        var counters = Counters()
        counters.witnessPackets = witness.packets
        counters.witnessBytes = witness.bytes
        counters.passedPackets = meter.passed_packets
        counters.passedPayloadBytes = meter.passed_payload_bytes
        counters.passedWireBytes = meter.passed_wire_bytes
        counters.droppedPackets = meter.dropped_packets
        counters.droppedPayloadBytes = meter.dropped_payload_bytes
        counters.deferredPackets = direction == .down ? 0 : shared.value.pointee.tcp.deferred_packets
        let exempt = direction.pick(from: shared.value.pointee.exempt)
        counters.exemptPackets = exempt.packets
        counters.exemptBytes = exempt.bytes
        counters.activeNanoseconds = meter.last_ns - min(meter.first_ns, meter.last_ns)
        return counters
    }
}
