import Cgroups
import Kernel
import Logging
import Programs

/// Puts the programs on the run's cgroups.
extension Limiter {
    /// Attaches the witness to the parent. A parent that is full costs only the proof, not the limit.
    static func attachWitness(
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

    /// Attaches meter and police. Returns how that was possible.
    static func attachMeters(
        _ attachments: inout Attachments, _ programs: borrowing ProgramSet, _ cgroup: borrowing RunCgroup,
        _ whole: borrowing CgroupDirectory?, _ plan: RunPlan, _ log: Logger
    ) throws(SetupError) -> AttachMethod {
        var method = AttachMethod.link
        for direction in Direction.allCases {
            method = try attachToRun(.meter(direction), &attachments, programs, cgroup, whole, plan)
            for (path, program) in nearestPrograms(above: cgroup, Hook.meter(direction).attachType)
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

    /// Attaches what knows the run's sockets, which the guard has loaded. Without it, police holds the limits.
    static func attachTCP(
        _ attachments: inout Attachments, _ programs: borrowing LentPrograms, _ cgroup: borrowing RunCgroup,
        _ whole: borrowing CgroupDirectory?, _ plan: RunPlan, _ method: AttachMethod, _ memory: RunMemory, _ log: Logger
    ) {
        // The guard says why.
        if !programs.areAll { return }
        do {
            for hook in TCPPrograms.hooks {
                try atPlace(of: hook, cgroup, whole, plan) { place, _ throws(SystemError) in
                    try attachments.attach(hook, of: programs, to: place.descriptor, at: place.path, by: method)
                }
            }
            memory.hasTCP = true
        } catch {
            memory.obstruct(error, log)
        }
    }

    private static func attachToRun(
        _ hook: Hook, _ attachments: inout Attachments, _ programs: borrowing ProgramSet,
        _ cgroup: borrowing RunCgroup, _ whole: borrowing CgroupDirectory?, _ plan: RunPlan
    ) throws(SetupError) -> AttachMethod {
        do {
            return try atPlace(of: hook, cgroup, whole, plan) { place, isOwn throws(SystemError) in
                // What isn't a link would outlive us on a cgroup that isn't the run's own.
                try attach(hook, &attachments, programs, place, isOwn ? plan.attach : .link)
            }
        } catch {
            throw explain(error, cgroup, hook.attachType)
        }
    }

    /// Calls `body` with the cgroup that a program goes on, and whether that is the run's own.
    private static func atPlace<Result>(
        of hook: Hook, _ cgroup: borrowing RunCgroup, _ whole: borrowing CgroupDirectory?, _ plan: RunPlan,
        _ body: (borrowing CgroupDirectory, _ isOwn: Bool) throws(SystemError) -> Result
    ) throws(SystemError) -> Result {
        switch whole {
        case .some(let whole): try body(whole, false)
        case nil where plan.target.isInBase(hook): try body(cgroup.base, false)
        case nil: try body(cgroup.run, true)
        }
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
