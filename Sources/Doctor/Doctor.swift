import Cgroups
import Devices
import Glibc
import Kernel
import Logging
import Planes
import Processes
import Programs
import Runs

/// Looks at all that limiting needs and tries each on the real system. Nothing of that is left there: what is made for
/// a try goes with its network namespace, or has a guard as a run has.
package struct Doctor {
    private var diagnosis = Diagnosis()
    private let log = Logger(label: "doctor") { _ in DeafHandler() }

    /// Takes about a second and a half. A signal cuts it short.
    package static func examine(as caller: borrowing Caller) throws(SystemError) -> Diagnosis {
        var doctor = Doctor()
        try doctor.examine(as: caller)
        return doctor.diagnosis
    }

    private mutating func examine(as caller: borrowing Caller) throws(SystemError) {
        let kernel = examineKernel()
        let isCapable = examineCapabilities()
        let isDelegated = examineCgroup(isCapable)
        examineLeftovers()
        guard let kernel, isCapable, isDelegated else {
            return add(.selfTest, .info, "neither this nor BPF, attaching and queues could be tried")
        }
        guard examineBPF(kernel), try !isInterrupted(by: caller) else { return }
        let isAttached = examineAttaching()
        if try isInterrupted(by: caller) { return }
        examineNetwork(kernel, isAttached, as: caller)
    }

    private mutating func isInterrupted(by caller: borrowing Caller) throws(SystemError) -> Bool {
        diagnosis.interruption = try caller.pendingEnd()
        return diagnosis.interruption != nil
    }

    private mutating func add(_ area: Finding.Area, _ level: Finding.Level, _ text: String, advice: String? = nil) {
        diagnosis.findings.append(Finding(area, level, text, advice: advice))
    }

    private mutating func add(
        _ area: Finding.Area, _ level: Finding.Level, _ error: any Error, _ consequence: String = "",
        advice: String? = nil
    ) {
        let error = SetupError(error)
        add(area, level, error.problem + consequence, advice: error.advice ?? advice)
    }
}

/// What is only looked at.
extension Doctor {
    private mutating func examineKernel() -> KernelVersion? {
        do {
            let kernel = try checkKernel()
            add(.kernel, .ok, "Linux \(Host.kernelRelease)")
            return kernel
        } catch {
            add(.kernel, .broken, error, advice: "use a newer kernel")
            return nil
        }
    }

    private mutating func examineCapabilities() -> Bool {
        do {
            try checkCapabilities()
            add(.capabilities, .ok, "cap_bpf, cap_net_admin, cap_perfmon")
            return true
        } catch {
            add(.capabilities, .broken, error)
            return false
        }
    }

    /// The caller's cgroup, and what is attached from there to the root.
    private mutating func examineCgroup(_ isCapable: Bool) -> Bool {
        do {
            let cgroup = try CgroupDirectory.ofCaller()
            describe(cgroup)
            let isDelegated = examineDelegation(of: cgroup)
            examinePrograms(from: cgroup, isCapable)
            return isDelegated
        } catch {
            add(.cgroup, .broken, error)
            return false
        }
    }

    private mutating func describe(_ cgroup: borrowing CgroupDirectory) {
        let mounts = CgroupMount.all(in: (try? readText("/proc/self/mountinfo")) ?? "")
        if let mount = mounts.first(where: { cgroup.path.hasPrefix($0.mountPoint) }) {
            add(.cgroup, .ok, "\(cgroup.path) (cgroup v2 is mounted on \(mount.mountPoint))")
        } else {
            add(.cgroup, .info, "\(cgroup.path) (no mount of cgroup v2 shows it: throttle makes one out of sight)")
        }
    }

    private mutating func examineDelegation(of cgroup: borrowing CgroupDirectory) -> Bool {
        do {
            try cgroup.requireDelegation()
            add(.delegation, .ok, "runs can have cgroups of their own there")
            return true
        } catch {
            add(.delegation, .broken, error)
            return false
        }
    }

    private mutating func examinePrograms(from cgroup: borrowing CgroupDirectory, _ isCapable: Bool) {
        guard isCapable else { return add(.programs, .info, "attached programs can't be listed without capabilities") }
        let programs = surroundingPrograms(from: cgroup)
        diagnosis.programs = programs
        diagnosis.findings += programs.map(\.finding)
        if programs.isEmpty { add(.programs, .ok, "none attached from there to the root") }
        for (cgroup, type, count) in crowds(in: programs) {
            add(
                .programs, .degraded, "\(count) programs on \(cgroup): \(type.rawValue), where Linux allows 64",
                advice: "find out who attaches them: bpftool cgroup tree")
        }
    }

    private mutating func examineLeftovers() {
        let found = Cleanup(isRemoving: false).leftovers()
        diagnosis.leftovers = found.filter { $0.kept == nil }
        let advice = geteuid() == 0 ? "throttle cleanup" : "sudo throttle cleanup"
        for leftover in found {
            if let kept = leftover.kept { add(.leftovers, .info, "\(leftover.description): \(kept)") }
        }
        for leftover in diagnosis.leftovers {
            add(.leftovers, .degraded, "\(leftover.description), left by a dead run", advice: advice)
        }
        if diagnosis.leftovers.isEmpty { add(.leftovers, .ok, "none of dead runs") }
    }
}

/// What is tried.
extension Doctor {
    private mutating func examineBPF(_ kernel: KernelVersion) -> Bool {
        do {
            let programs = try loadPrograms(kernel)
            do {
                let maps = programs.memory.maps
                _ = try TCPPrograms(sharing: maps)
                for way in [QueueProgram.Way.link, .filter, .hold, .back] {
                    _ = try QueueProgram(sharing: maps, for: way)
                }
                add(.bpf, .ok, "programs load, \(ProgramSet.variant(for: kernel))")
            } catch {
                add(.bpf, .degraded, error, ", so nothing but police can hold limits")
            }
            return true
        } catch {
            add(.bpf, .broken, error)
            return false
        }
    }

    private func loadPrograms(_ kernel: KernelVersion) throws(LoadError) -> ProgramSet {
        try ProgramSet(for: kernel, sharing: RunMemory(for: kernel, SelfTest.plan.limits))
    }

    /// Sets up a run without a command as auto does it, then in the other way.
    private mutating func examineAttaching() -> Bool {
        do {
            let method = try attach(.auto)
            let other = method == .link ? AttachChoice.legacy : .link
            do {
                _ = try attach(other)
                add(.attach, .ok, "by \(method), and by \(other)")
            } catch {
                add(.attach, .info, "by \(method), which is enough; not by \(other): \(error)")
            }
            return true
        } catch {
            add(.attach, .broken, error)
            return false
        }
    }

    private func attach(_ choice: AttachChoice) throws(SetupError) -> AttachMethod {
        var plan = SelfTest.plan
        plan.mode = .police
        plan.attach = choice
        let limiter = try Limiter(plan, Command(words: ["doctor"]), log: log)
        let method = limiter.method
        _ = limiter.end(.kill)
        return method
    }

    /// In a network of our own: no device of the caller's is any business of ours.
    private mutating func examineNetwork(_ kernel: KernelVersion, _ isAttached: Bool, as caller: borrowing Caller) {
        do {
            try Host.inScratchNetwork {
                examineQueue()
                examineIngress(kernel)
                examineTransfer(.auto, isAttached, as: caller)
                examineTunnel(isAttached, as: caller)
            }
        } catch {
            add(
                .queue, .info, "\(error), so whether downloads can wait in a queue can't be told",
                advice: "sudo throttle doctor")
            examineTransfer(.police, isAttached, as: caller)
        }
    }

    private static let noQueue = ", so downloads don't wait in a queue, and TCP loses packets to their limit"

    private mutating func examineDelay(_ queue: inout Queue) {
        do {
            try queue.setDelay(Delay(nanoseconds: 1_000_000, jitterNanoseconds: 0), rate: SelfTest.rate)
            add(.queue, .ok, "netem, for --rtt and --jitter")
        } catch {
            add(
                .queue, .info, "no netem in this kernel, so --rtt, --jitter and profiles can't be had",
                advice: Delay.advice)
        }
    }

    private mutating func examineQueue() {
        do {
            var queue = try Queue.ofRun("\(getpid())", in: .current(), rate: SelfTest.rate, log: .silent)
            add(.queue, .ok, "IFB and HTB")
            switch queue.leafKind {
            case .fqCodel: add(.queue, .ok, "fq_codel shares it between connections")
            case .bfifo:
                add(
                    .queue, .info, "no fq_codel in this kernel, so connections wait in one line, but for what begins",
                    advice: "modprobe sch_fq_codel, for more even shares")
            }
            examineDelay(&queue)
        } catch {
            add(.queue, .degraded, error, Doctor.noQueue)
        }
        do {
            _ = try Queue.ofRun("\(getpid())", for: .egress, in: .current(), rate: SelfTest.rate, log: .silent)
            add(.queue, .ok, "macvlan, for uploads that can't be paced")
        } catch {
            add(.queue, .info, error, ", so uploads over UDP don't wait in a queue: what is over the limit is dropped")
        }
    }

    /// The ways to lead packets into the queue: links where there are any (Linux 6.6), filters on devices that have others'
    /// filters, and on all devices where there are no links.
    private mutating func examineIngress(_ kernel: KernelVersion) {
        let hasLinks = kernel >= DeviceLink.oldestKernel
        for isFilter in hasLinks ? [false, true] : [true] {
            do {
                let network = try NetworkNamespace.current()
                guard let loopback = try network.routeSocket().devices().first(where: \.isLoopback) else { return }
                let maps = try loadPrograms(kernel).memory.maps
                let program = try QueueProgram(sharing: maps, for: isFilter ? .filter : .link)
                try program.lead(to: loopback.index)
                _ = try DeviceHook(
                    loopback, in: network, to: loopback.index, program, byLink: !isFilter, .silent)
                add(.ingress, .ok, isFilter ? "clsact with BPF filters" : "tcx links")
            } catch {
                let isNeeded = isFilter != hasLinks
                add(
                    .ingress, isNeeded ? .degraded : .info, error,
                    isNeeded ? Doctor.noQueue : ", so devices that have filters of others don't lead there",
                    advice: isFilter ? "modprobe -a sch_ingress cls_bpf act_mirred" : nil)
            }
        }
    }

    private mutating func examineTunnel(_ isAttached: Bool, as caller: borrowing Caller) {
        if !isAttached || RunCgroup.isCallerInside || diagnosis.interruption != nil { return }
        do {
            let (outcome, finding) = try SelfTunnel.finding(log, as: caller)
            if case .killed(let signal) = outcome { diagnosis.interruption = signal }
            diagnosis.findings.append(finding)
        } catch {
            add(.selfTest, .info, error, ", so devices without Ethernet weren't tried")
        }
    }

    private mutating func examineTransfer(_ mode: Mode, _ isAttached: Bool, as caller: borrowing Caller) {
        if !isAttached { return add(.selfTest, .info, "not tried, as nothing can be attached") }
        if RunCgroup.isCallerInside {
            return add(.selfTest, .info, "not tried inside a run, as its limits would hold, too")
        }
        do {
            let (outcome, report) = try SelfTest.run(mode, log, as: caller)
            if case .killed(let signal) = outcome { diagnosis.interruption = signal }
            diagnosis.findings.append(SelfTest.finding(outcome, report))
        } catch {
            add(.selfTest, .broken, error)
        }
    }
}

/// Keeps nothing, but wants to hear everything: so a guard's end is waited for, and it says all it did.
private struct DeafHandler: LogHandler {
    var logLevel = Logger.Level.debug
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {}
}
