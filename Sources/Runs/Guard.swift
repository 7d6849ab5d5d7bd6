import CKernel
import Cgroups
import Glibc
import Kernel
import Logging
import Programs
import SystemPackage

/// The process that keeps a run's planes up. The command waits for none of that work, and however this process
/// ends, the guard takes down what it set up.
final class Guard {
    /// Readable when the guard has something to say; -1 when it has ended.
    private(set) var input: CInt
    /// What the guard set up; nil while it is at it.
    private(set) var planes: Set<Plane>?
    /// Why downloads aren't shaped, where they were to be.
    private(set) var obstacle: String?
    private var isEnding = false
    private let mode: Mode
    private let method: AttachMethod
    private let log: Logger

    /// Forks the guard, which sets up the planes of `plan` on its own.
    init(
        _ plan: RunPlan, _ kernel: KernelVersion, _ programs: borrowing ProgramSet, _ cgroup: borrowing RunCgroup,
        _ method: AttachMethod, log: Logger
    ) throws(SystemError) {
        mode = plan.mode
        self.method = method
        self.log = log
        var ends: [CInt] = [-1, -1]
        let type = CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw SystemError("open", "a socket pair") }
        // Long enough for all that the guard does before a download may begin; short where it dies over it.
        if plan.down != .unlimited && plan.mode != .police { programs.holdConnections(milliseconds: 200) }
        let own = ([ends[1], cgroup.run.descriptor.rawValue] + programs.mapDescriptors).sorted()
        let pid = kernel_fork_apart(own, CInt(own.count))
        if pid == 0 {
            Guard.work(
                Channel(descriptor: ends[1], isDebugging: log.logLevel == .debug), plan, kernel, programs, cgroup,
                method)
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
        end()
    }

    /// Lets the guard end, and waits for that only where its last words are wanted; where it would end with us, as
    /// process 1 of a pid namespace; or where a run around this one would take it for left behind by its command.
    func end() {
        isEnding = true
        if input >= 0 { shutdown(input, CInt(SHUT_WR)) }
        if log.logLevel == .debug || getpid() == 1 || RunCgroup.isCallerInside { while listen() {} }
        if input >= 0 { close(input) }
        input = -1
    }

    /// Waits until the planes are set up, or can't be.
    func waitUntilReady() {
        while planes == nil, listen() {}
    }

    /// Takes in one message. Returns whether more may follow.
    func listen() -> Bool {
        guard input >= 0 else { return false }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(input, &buffer, buffer.count, 0)
        guard count > 0 else {
            close(input)
            input = -1
            if !isEnding {
                if planes?.isEmpty == false {
                    log.warning("the guard process was ended: from now on only police holds the limits")
                }
                planes = []
            }
            return false
        }
        take(Message(decoding: buffer.prefix(count)))
        return true
    }

    private func take(_ message: Message) {
        switch message.kind {
        case .ready:
            planes = Set(message.text.split(separator: " ").compactMap { Plane(rawValue: String($0)) })
            log.info("mode \(mode): \(message.text) (attached by \(method))")
        case .obstacle:
            obstacle = message.text
            log.info("not shaped: \(message.text)")
        case .info: log.info("\(message.text)")
        case .debug: log.debug("\(message.text)")
        case .warning: log.warning("\(message.text)")
        }
    }

    /// The guard's life.
    private static func work(
        _ channel: Channel, _ plan: RunPlan, _ kernel: KernelVersion, _ programs: borrowing ProgramSet,
        _ cgroup: borrowing RunCgroup, _ method: AttachMethod
    ) {
        do {
            var keeper = try PlaneKeeper(plan, kernel, programs, cgroup, method, channel)
            channel.say(.ready, keeper.planes.map(\.rawValue).sorted().joined(separator: " ") + " police")
            programs.holdConnections(milliseconds: 0)
            keeper.keep(programs)
        } catch {
            channel.say(.obstacle, "\(error)")
            programs.holdConnections(milliseconds: 0)
        }
    }
}
