import CKernel
import Cgroups
import Glibc
import Kernel
import Logging
import Processes
import Programs
import Records

/// The process that holds all of a run, too, and keeps its planes up. The command waits for none of that work; where
/// throttle is killed, or leaves processes of the command's behind, the guard keeps them limited to their end; and
/// however it ends itself, nothing of it stays. It is forked before there is anything to guard.
final class GuardProcess {
    private enum State {
        /// It loads programs.
        case loading
        /// It sets the planes up.
        case starting
        case up
        /// It takes them down.
        case ending
        /// It holds the run alone, or has ended.
        case gone
    }

    private var state = State.loading
    private var lent: [CInt] = []
    private var line: Descriptor?
    private let pid: pid_t
    private let memory: RunMemory
    /// Whether the run can't begin without it: who begins it says so.
    private let isNeeded: Bool
    private let log: Logger

    /// Forks the guard of a run in `base`, which waits for what it is to guard.
    init(
        _ plan: RunPlan, _ command: Command, _ kernel: KernelVersion, _ memory: RunMemory,
        _ base: borrowing CgroupDirectory, _ records: RecordDirectory?, _ member: Membership?, log: Logger
    ) throws(SystemError) {
        self.log = log
        self.memory = memory
        isNeeded = plan.needsGuard
        var ends: [CInt] = [-1, -1]
        let type = CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw SystemError("open", "a socket pair") }
        var own = [ends[1], base.descriptor.rawValue] + memory.maps.descriptors
        if let records { own.append(records.descriptor.rawValue) }
        if let member { own += member.descriptors }
        own.sort()
        let life = GuardLife(
            plan: plan, command: command, kernel: kernel, memory: memory, member: member,
            channel: Channel(descriptor: ends[1]), log: Channel(descriptor: ends[1]).logger(log.logLevel),
            parent: getpid())
        pid = kernel_fork_apart(own, CInt(own.count))
        if pid == 0 {
            life.work(base, records)
            _exit(0)
        }
        Glibc.close(ends[1])
        line = Descriptor(owning: ends[0])
        if pid < 0 { throw SystemError("start", "the guard process") }
    }

    /// Lets the guard hear that all we did is undone, and waits for its end where that is needed.
    fileprivate func close() {
        end()
        line = nil
        if state == .ending && mustBeReaped { waitpid(pid, nil, 0) }
    }

    /// Whether it would be seen after us: by the run that we are in, which counts what its command leaves behind, or by all
    /// where process 1 of a container doesn't reap.
    private var mustBeReaped: Bool { RunCgroup.isCallerInside || !Host.isInInitialProcessNamespace }

    private var descriptor: CInt {
        switch line {
        case .some(let line): line.rawValue
        case nil: -1
        }
    }

    /// Readable when the guard has something to say; -1 where nothing is heard of it any more.
    var input: CInt { isAlive ? descriptor : -1 }

    /// Whether it keeps the planes up, and would hold the run without us.
    var isAlive: Bool { [.loading, .starting, .up].contains(state) }

    /// Gives the guard its part in the run.
    func take(_ hold: borrowing RunHold) throws(SystemError) { try hold.handOver(to: descriptor) }

    /// Leaves what is left of the run to the guard.
    func leave() {
        state = .gone
        line = nil
    }

    /// Makes the guard take the planes down, and waits for that only where its words are wanted, or where it would end
    /// with us, as process 1 of a pid namespace.
    func end() {
        guard isAlive else { return }
        state = .ending
        ToGuard.sendEnd(to: descriptor)
        if log.logLevel == .debug || getpid() == 1 { while hear() {} }
    }

    /// Waits for the programs that it loads beside us.
    func takePrograms() -> LentPrograms {
        while state == .loading, listen(isTold: isNeeded) {}
        defer { lent = [] }
        return LentPrograms(owning: lent)
    }

    /// Waits until the planes are set up, or can't be.
    func waitUntilReady() {
        while state == .starting, listen(isTold: isNeeded) {}
    }

    /// Takes in one message. Returns whether more may follow. Warns where the guard has ended, unless that is told otherwise.
    func listen(isTold: Bool = false) -> Bool {
        if hear() { return true }
        if isAlive {
            let rest = memory.hasTCP ? "downloads don't wait in a queue any more" : "only police holds the limits"
            let more =
                (memory.isImpaired ? ", and nothing is delayed or lost" : "")
                + (memory.yielding != nil ? ", and nothing has the run give way" : "")
            log.log(level: isTold ? .debug : .warning, "the guard process was ended: \(rest)\(more)")
            takeOver()
        }
        return false
    }

    /// Takes in what has come, without waiting.
    func drain() {
        while isAlive, !isSilent, listen() {}
    }

    private var isSilent: Bool {
        var poller = Poller<Void>()
        poller.add(descriptor, ())
        poller.wake(at: 0)
        return poller.wait().isEmpty
    }

    private func hear() -> Bool {
        let packet = LinePacket(on: descriptor)
        lent += packet.descriptors
        if packet.bytes.isEmpty { return false }
        switch FromGuard(decoding: packet.bytes) {
        case .programs: if state == .loading { state = .starting }
        case .ready: if state == .starting { state = .up }
        case .log(let level, let text): log.log(level: level, "\(text)")
        }
        return true
    }

    /// Does without the guard, which somebody has killed, or which can't be heard any more.
    private func takeOver() {
        leave()
        if memory.planes.contains(.shape) { memory.obstacle = "the guard process was ended" }
        for direction in Direction.allCases { memory.leaveQueues(direction) }
        memory.endImpairment()
        memory.tellPlanes(isShaped: false)
        memory.yielding = nil
        // Its claim to the queue lasts until it is gone altogether.
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        Sweep().queues(in: memory.otherNetworks, log)
        // Nobody tells the run's share of its group any more: the group's budget holds.
        memory.rates = memory.asked
    }
}

/// The line to the guard, if there is one. Its end is to come last of all.
struct GuardLine: ~Copyable {
    let guardProcess: GuardProcess?

    init(to guardProcess: GuardProcess?) { self.guardProcess = guardProcess }

    deinit { guardProcess?.close() }
}
