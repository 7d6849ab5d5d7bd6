import Cgroups
import Glibc
import Kernel
import Processes
import Programs
import SystemPackage

/// What a run limits.
package enum Target: Sendable, Equatable {
    /// A command that it starts, with all that this starts.
    case command
    /// Processes that run already, and all that they start or have started.
    case processes([pid_t])
    /// All that is in a cgroup, by its path.
    case cgroup(String)
    /// All that is in a unit of systemd's: one of the system's, or of the caller's own manager.
    case unit(String, isUsers: Bool)

    package var isCommand: Bool { self == .command }

    /// For people; nil of a command.
    var described: String? {
        switch self {
        case .command: return nil
        case .processes(let processes):
            let list = processes.map(String.init).joined(separator: ", ")
            return "\(processes.count == 1 ? "process" : "processes") \(list)"
        case .cgroup(let path): return "cgroup \(path)"
        case .unit(let name, let isUsers): return (isUsers ? "user unit " : "unit ") + name
        }
    }

    /// What a report calls the run, where it has no name: the first word of the first process, or what it is attached to.
    package var words: [String]? {
        switch self {
        case .command: nil
        case .processes(let processes): processes.first.map { commandLine(of: $0) ?? ["\($0)"] }
        case .cgroup(let path): [path]
        case .unit(let name, _): [name]
        }
    }

    /// Whether its programs are on a cgroup that others are in, too.
    var isGuest: Bool {
        if case .processes = self { true } else { false }
    }

    /// Whether all of a cgroup is limited, and nothing is moved.
    var isCgroup: Bool {
        switch self {
        case .command, .processes: false
        case .cgroup, .unit: true
        }
    }

    /// Why the run's own cgroup is where it is.
    var place: RunCgroup.Place {
        switch self {
        case .command: .anywhere
        case .processes: .target
        case .cgroup, .unit: .caller
        }
    }

    /// That cgroup; nil where there is none.
    func wholeCgroup() throws(SystemError) -> CgroupDirectory? {
        switch self {
        case .command, .processes: return nil
        case .cgroup(let path): return try CgroupDirectory(opening: path)
        case .unit(let name, let isUsers): return try CgroupDirectory(ofUnit: name, isUsers: isUsers)
        }
    }

    /// Whether a program goes on the cgroup that what runs already is in, as sockets that are open stay there; only marked ones
    /// are the run's. Else it goes on the run's own.
    func isInBase(_ hook: Hook) -> Bool {
        if !isGuest { return false }
        switch hook {
        case .sockets, .witness: return false
        case .meter, .calls, .tcp: return true
        }
    }
}

extension Target {
    /// The cgroup that such processes are in, all of them. Fails where one of them can't be limited.
    static func cgroup(of processes: [pid_t]) throws(SetupError) -> CgroupDirectory {
        var paths: [pid_t: String] = [:]
        for process in processes { paths[process] = try check(process) }
        guard let first = processes.first, let path = paths[first] else { throw SetupError("no process is given") }
        if let other = processes.first(where: { paths[$0] != path }) {
            throw SetupError(
                "can't limit processes \(first) and \(other) by one run: they are in different cgroups",
                advice: "limit each by a run of its own, with --group for one budget")
        }
        return try setting { () throws(SystemError) in try CgroupDirectory(of: first) }
    }

    /// Fails for a cgroup that can't be limited as a whole.
    static func check(_ whole: borrowing CgroupDirectory?) throws(SetupError) {
        switch whole {
        case .some(let whole): try check(whole)
        case nil: break
        }
    }

    private static func check(_ cgroup: borrowing CgroupDirectory) throws(SetupError) {
        func refusal(_ errno: Errno, _ hint: String) -> SetupError {
            SetupError(SystemError("limit", "cgroup \(cgroup.path)", errno: errno, hint: hint))
        }
        var own = try setting { () throws(SystemError) in try CgroupDirectory.ofCaller() }
        while true {
            if own.isSame(as: cgroup) { throw refusal(.invalidArgument, "throttle itself is in it") }
            guard let above = own.above() else { break }
            own = above
        }
        if let id = RunCgroup.run(around: cgroup.path) {
            throw refusal(.resourceBusy, "it is of run \(id) already, which throttle set \(id) changes")
        }
        try setting { () throws(SystemError) in try cgroup.requireControl() }
        let events = try setting { () throws(Errno) in try cgroup.events() }
        if !events.isPopulated { throw refusal(.noSuchProcess, "nothing runs there") }
    }

    /// The path of its cgroup.
    private static func check(_ process: pid_t) throws(SetupError) -> String {
        func refusal(_ errno: Errno, _ hint: String? = nil) -> SetupError {
            SetupError(SystemError("limit", "process \(process)", errno: errno, hint: hint))
        }
        guard let status = ProcessStatus(of: process), !status.isZombie else { throw refusal(.noSuchProcess) }
        if status.isKernels { throw refusal(.invalidArgument, "it is a thread of the kernel's") }
        if process == getpid() || ancestorsOfOurs.contains(process) {
            throw refusal(.invalidArgument, "throttle itself is in it, or was started by it")
        }
        guard let path = (try? readText("/proc/\(process)/cgroup")).flatMap(cgroupPath(in:)) else {
            throw refusal(.noSuchProcess)
        }
        if let id = RunCgroup.run(around: path) {
            throw refusal(.resourceBusy, "it is in run \(id) already, which throttle set \(id) changes")
        }
        return path
    }
}
