import CKernel
import Glibc
import Kernel
import SystemPackage

/// The command to run: the last words of our own command line, passed on byte by byte, or words of our own.
package struct Command: Sendable {
    private let count: Int
    private let own: [String]?
    private let account: Account?

    /// The last `count` (at least 1) words, to be run as a user (nil: as we are).
    package init(lastWords count: Int, as account: Account? = nil) {
        precondition(count > 0 && count <= CommandLine.argc)
        self.count = count
        self.account = account
        own = nil
    }

    /// What we have to run ourselves.
    package init(words: [String]) {
        precondition(!words.isEmpty)
        count = words.count
        own = words
        account = nil
    }

    /// For people; bytes that aren't UTF-8 are repaired here.
    package var words: [String] { own ?? CommandLine.arguments.suffix(count) }

    /// What exec takes. The copy of words of our own stays.
    private var argv: UnsafePointer<UnsafeMutablePointer<CChar>?> {
        guard let own else { return UnsafePointer(CommandLine.unsafeArgv + Int(CommandLine.argc) - count) }
        let list = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: count + 1)
        list.initialize(from: own.map { strdup($0) } + [nil], count: count + 1)
        return UnsafePointer(list)
    }

    /// Starts the command in `cgroup`, an open directory (nil: in our own), held just before its exec.
    package func start(in cgroup: CInt?, as caller: borrowing Caller) throws(SystemError) -> RunningCommand {
        var ends: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw SystemError("open", "a socket pair")
        }
        let child = Descriptor(owning: ends[0])
        let parent = Descriptor(owning: ends[1])
        var spawn = kernel_spawn(
            argv: argv,
            environment: UnsafePointer(kernel_original_environment(CommandLine.argc, CommandLine.unsafeArgv)),
            cgroup_fd: cgroup ?? -1, caller: caller.state, groups: nil, group_count: 0, gid: 0, uid: 0,
            child_fd: child.rawValue, parent_fd: parent.rawValue)
        account?.apply(to: &spawn)
        var pidfd: CInt = -1
        var failedCall: UnsafePointer<CChar>?
        let pid = kernel_spawn(&spawn, &pidfd, &failedCall)
        guard pid > 0 else {
            let error = Errno(rawValue: errno)
            let call = failedCall.map { String(cString: $0) } ?? "clone3"
            throw SystemError("start", "the command (\(call))", errno: error, hint: Command.hint(for: error))
        }
        return RunningCommand(pid: pid, descriptor: Descriptor(owning: pidfd), channel: parent)
    }

    private static func hint(for errno: Errno) -> String? {
        switch errno {
        case .permissionDenied:
            "to start it in another cgroup, you must be allowed to write to cgroup.procs of that cgroup and of the"
                + " nearest one above it that is also above your own (cgroups(7), delegation)"
        case .notSupportedOnSocket: "the cgroup is threaded (cgroup.type): give --cgroup-parent a domain cgroup"
        default: nil
        }
    }
}
