import Cgroups
import Kernel
import Logging
import Programs
import SystemPackage

/// All that a run sets up on the system. Its scope undoes it, in reverse.
struct Limiter: ~Copyable {
    // Destroyed in this order: the last made goes first.
    let keeper: Guard?
    private var attachments: Attachments
    private let programs: ProgramSet
    private let cgroup: RunCgroup
    let method: AttachMethod
    let hasWitness: Bool
    private let isLimited: Bool

    init(_ plan: RunPlan, log: Logger) throws(SetupError) {
        let kernel = try checkRequirements()
        log.debug("kernel \(Host.kernelRelease)")
        let cgroup = try Limiter.makeCgroup(plan, log)
        let programs = try Limiter.load(plan, kernel, log)
        var attachments = Attachments(log: Limiter.undoLog(log))
        let hasWitness = try Limiter.attachWitness(&attachments, programs, cgroup, plan.attach, log)
        let method = try Limiter.attachMeters(&attachments, programs, cgroup, plan.attach, log)
        let keeper = try Limiter.startGuard(&attachments, programs, cgroup, plan, kernel, method, log)
        self.method = method
        self.keeper = keeper
        self.hasWitness = hasWitness
        isLimited = plan.isLimited
        self.attachments = attachments
        self.programs = programs
        self.cgroup = cgroup
    }

    var id: String { cgroup.id }

    /// The open directory of the cgroup to start the command in.
    var cgroupDescriptor: CInt { cgroup.run.descriptor.rawValue }

    func counters(_ direction: Direction) -> Counters {
        var counters = programs.counters(direction)
        if !hasWitness {
            counters.witnessPackets = nil
            counters.witnessBytes = nil
        }
        return counters
    }

    /// What holds the limits: police, and what the guard said that it set up.
    var planes: Set<Plane> { isLimited ? (keeper?.planes ?? []).union([.police]) : [] }

    var planeCounters: PlaneCounters { programs.planes }

    /// Undoes everything. Returns how many processes the command left running, now unlimited.
    consuming func undo() -> Int {
        keeper?.end()
        return cgroup.release()
    }

    private static func undoLog(_ log: Logger) -> UndoLog {
        { line, isFailure in log.log(level: isFailure ? .warning : .debug, "\(line)") }
    }

    private static func makeCgroup(_ plan: RunPlan, _ log: Logger) throws(SetupError) -> RunCgroup {
        try setting { () throws(SystemError) in
            let base =
                if let path = plan.cgroupParent { try CgroupDirectory(opening: path) } else {
                    try CgroupDirectory.ofCaller()
                }
            for name in base.sweep() { log.debug("removed cgroup \(base.path)/\(name), left by a dead run") }
            return try RunCgroup(in: base, log: Limiter.undoLog(log))
        }
    }

    private static func load(
        _ plan: RunPlan, _ kernel: KernelVersion, _ log: Logger
    ) throws(SetupError) -> ProgramSet {
        do throws(LoadError) {
            let programs = try ProgramSet(for: kernel, down: plan.limit(.down), up: plan.limit(.up))
            log.debug("loaded the programs \(ProgramSet.variant(for: kernel))")
            return programs
        } catch {
            for line in error.log { log.debug("\(line)") }
            throw SetupError(error)
        }
    }

    /// Attaches the witness to the parent. A parent that is full costs only the proof, not the limit.
    private static func attachWitness(
        _ attachments: inout Attachments, _ programs: borrowing ProgramSet, _ cgroup: borrowing RunCgroup,
        _ choice: AttachChoice, _ log: Logger
    ) throws(SetupError) -> Bool {
        for direction in Direction.allCases {
            do throws(SystemError) {
                _ = try attach(
                    Hook.witness(direction), &attachments, programs, cgroup.parent, choice)
            } catch  where error.errno == .argListTooLong {
                log.warning("\(cgroup.parent.path) has 64 programs already: going on without the witness")
                return false
            } catch {
                throw explain(error, cgroup, Hook.meter(direction).attachType)
            }
        }
        return true
    }

    private static func attachMeters(
        _ attachments: inout Attachments, _ programs: borrowing ProgramSet, _ cgroup: borrowing RunCgroup,
        _ choice: AttachChoice, _ log: Logger
    ) throws(SetupError) -> AttachMethod {
        var method = AttachMethod.link
        for direction in Direction.allCases {
            do throws(SystemError) {
                method = try attach(Hook.meter(direction), &attachments, programs, cgroup.run, choice)
            } catch {
                throw explain(error, cgroup, Hook.meter(direction).attachType)
            }
            for (path, program) in obstacles(to: cgroup, Hook.meter(direction).attachType)
            where program.mode == .override {
                log.warning(
                    """
                    \(program.described) on \(path) does not see this run's traffic: it was attached with \
                    BPF_F_ALLOW_OVERRIDE, so the run's programs stand in for it
                    """)
            }
        }
        return method
    }

    /// Starts what makes the limit lossless. Without it, it still holds.
    private static func startGuard(
        _ attachments: inout Attachments, _ programs: borrowing ProgramSet, _ cgroup: borrowing RunCgroup,
        _ plan: RunPlan, _ kernel: KernelVersion, _ method: AttachMethod, _ log: Logger
    ) throws(SetupError) -> Guard? {
        if !plan.isLimited { return nil }
        let keeper: Guard
        do {
            for hook in [Hook.sockets, .calls] {
                do throws(SystemError) {
                    _ = try attach(hook, &attachments, programs, cgroup.run, plan.attach)
                } catch {
                    throw explain(error, cgroup, hook.attachType)
                }
            }
            keeper = try Guard(plan, kernel, programs, cgroup, method, log: log)
        } catch {
            if plan.mode == .shape { throw SetupError(error) }
            log.info("nothing but police: \(error)")
            return nil
        }
        if plan.mode == .shape && plan.down != .unlimited {
            keeper.waitUntilReady()
            guard keeper.planes?.contains(.shape) == true else {
                throw SetupError("can't shape downloads: \(keeper.obstacle ?? "the guard process has ended")")
            }
        }
        return keeper
    }

    private static func attach(
        _ hook: Hook, _ attachments: inout Attachments, _ programs: borrowing ProgramSet,
        _ cgroup: borrowing CgroupDirectory, _ choice: AttachChoice
    ) throws(SystemError) -> AttachMethod {
        if choice != .legacy {
            do {
                try attachments.attach(
                    hook, of: programs, to: cgroup.descriptor, at: cgroup.path, by: .link)
                return .link
            } catch {
                // What a kernel says that has no BPF links, or none for cgroups.
                guard choice == .auto, [.invalidArgument, .noFunction].contains(error.errno) else { throw error }
            }
        }
        try attachments.attach(hook, of: programs, to: cgroup.descriptor, at: cgroup.path, by: .legacy)
        return .legacy
    }
}

/// Runs `body` and turns its error into one for the user.
func setting<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
) throws(SetupError) -> Result {
    do {
        return try body()
    } catch {
        throw SetupError(error)
    }
}
