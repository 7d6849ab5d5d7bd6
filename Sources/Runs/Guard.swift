import CKernel
import Cgroups
import Commands
import Glibc
import Kernel
import Logging
import Programs
import Records

/// The process that holds all of a run, too, and keeps its planes up. The command waits for none of that work; where
/// throttle is killed, or leaves processes of the command's behind, the guard keeps them limited to their end; and
/// however it ends itself, nothing of it stays. It is forked before there is anything to guard.
final class Guard {
    /// Readable when the guard has something to say; -1 when it has ended.
    private(set) var input: CInt
    private let pid: pid_t
    /// What the guard set up; nil while it is at it.
    private(set) var planes: Set<Plane>?
    /// Why downloads aren't shaped, where they were to be.
    private(set) var obstacle: String?
    fileprivate var isEnding = false
    private let mode: Mode
    private let log: Logger

    /// Forks the guard of a run in `base`, which waits for what it is to guard.
    init(
        _ plan: RunPlan, _ command: Command, _ kernel: KernelVersion, _ programs: borrowing ProgramSet,
        _ base: borrowing CgroupDirectory, _ records: RecordDirectory?, _ member: Membership?, log: Logger
    ) throws(SystemError) {
        mode = plan.mode
        self.log = log
        var ends: [CInt] = [-1, -1]
        let type = CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw SystemError("open", "a socket pair") }
        // Long enough for all that the guard does before a transfer may begin, as a congestion window that has grown
        // without it isn't reduced; short where it dies over it.
        if programs.memory.rates != .unlimited { programs.memory.holdConnections(milliseconds: 200) }
        var own = [ends[1], base.descriptor.rawValue] + programs.mapDescriptors
        if let records { own.append(records.descriptor.rawValue) }
        if let member { own += member.descriptors }
        own.sort()
        let channel = Channel(descriptor: ends[1], isDebugging: log.logLevel == .debug)
        let parent = getpid()
        pid = kernel_fork_apart(own, CInt(own.count))
        if pid == 0 {
            let life = Guarding(
                plan: plan, command: command, kernel: kernel, member: member, channel: channel, parent: parent)
            life.work(programs, base, records)
            _exit(0)
        }
        close(ends[1])
        input = ends[0]
        if pid < 0 {
            close(ends[0])
            throw SystemError("start", "the guard process")
        }
    }

    deinit {
        if isAlive && !isEnding { end() }
        leave()
    }

    /// While this lives, the guard leaves all but the planes to us.
    var line: GuardLine? { GuardLine(to: self, input, pid) }

    /// Gives the guard its share in all that the run has set up.
    func share(
        _ cgroup: borrowing RunCgroup, _ attachments: borrowing Attachments, _ record: borrowing RecordFile?,
        _ method: AttachMethod
    ) throws(SystemError) {
        var words = [cgroup.parent.name, "", method.rawValue]
        var descriptors = [cgroup.parent.descriptor.rawValue]
        switch record {
        case .some(let record):
            words[1] = record.name
            descriptors.append(record.descriptor)
        case nil: break
        }
        try Channel.send(words, descriptors + attachments.links, to: input)
    }

    var isAlive: Bool { input >= 0 }

    /// Leaves what is left of the run to the guard.
    func leave() {
        if isAlive { close(input) }
        input = -1
    }

    /// Makes the guard take the planes down, and waits for that only where its words are wanted, or where it would end
    /// with us, as process 1 of a pid namespace.
    func end() {
        isEnding = true
        Channel.sendEnd(to: input)
        if log.logLevel == .debug || getpid() == 1 { while hear() {} }
    }

    /// Waits until the planes are set up, or can't be.
    func waitUntilReady() {
        while planes == nil, hear() {}
        if planes == nil { takeOver() }
    }

    /// Takes in one message. Returns whether more may follow.
    func listen() -> Bool {
        if hear() { return true }
        if isAlive {
            log.warning("the guard process was ended: from now on only police holds the limits")
            takeOver()
        }
        return false
    }

    /// Takes in what has come, without waiting.
    func drain() {
        while isAlive, kernel_await(input, -1, -1, -1, 0) > 0, listen() {}
    }

    private func hear() -> Bool {
        guard isAlive else { return false }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(input, &buffer, buffer.count, 0)
        if count > 0 { take(Message(decoding: buffer.prefix(count))) }
        return count > 0
    }

    /// Does without the guard, which somebody has killed, or which can't be heard any more.
    private func takeOver() {
        leave()
        planes = []
        // Its claim to the queue lasts until it is gone altogether.
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        removeDeadQueues(Limiter.undoLog(log))
    }

    private func take(_ message: Message) {
        switch message.kind {
        case .ready:
            planes = Set(message.text.split(separator: " ").compactMap { Plane(rawValue: String($0)) })
            log.info("mode \(mode): \(message.text)")
        case .obstacle:
            obstacle = message.text
            log.info("not shaped: \(message.text)")
        case .info: log.info("\(message.text)")
        case .debug: log.debug("\(message.text)")
        case .warning: log.warning("\(message.text)")
        }
    }
}

/// An open line to the guard, the last that it hears of us.
struct GuardLine: ~Copyable {
    /// Not held: its end takes the planes down, and comes first.
    private weak let guardProcess: Guard?
    private let pid: pid_t
    private let descriptor: CInt

    fileprivate init?(to guardProcess: Guard, _ input: CInt, _ pid: pid_t) {
        guard let copy = try? Descriptor(copying: input) else { return nil }
        descriptor = copy.release()
        self.guardProcess = guardProcess
        self.pid = pid
    }

    deinit {
        let isEnding = guardProcess?.isEnding ?? true
        guardProcess?.leave()
        close(descriptor)
        if isEnding && RunCgroup.isCallerInside { waitpid(pid, nil, 0) }
    }
}
