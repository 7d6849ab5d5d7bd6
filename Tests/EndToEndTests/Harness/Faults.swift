import Foundation

/// One system call that fails once, or in which its process is killed.
struct Fault: CustomStringConvertible {
    /// What a run calls, and how that may fail. Not close(2), which closes in any case, and not memory, which Swift must have.
    static let errors = [
        "bpf": ["ENOMEM", "EPERM", "E2BIG", "EINVAL"], "openat": ["EMFILE", "EPERM", "EINTR"],
        "mkdirat": ["ENOSPC", "EPERM", "ENOMEM"], "unlinkat": ["EBUSY", "EPERM"], "socket": ["EMFILE", "ENOMEM"],
        "socketpair": ["EMFILE", "ENOMEM"], "bind": ["ENOMEM", "EADDRINUSE"], "getsockname": ["ENOMEM"],
        "setsockopt": ["ENOMEM", "EPERM"], "sendmsg": ["ENOBUFS", "EINTR"], "sendto": ["ENOBUFS", "EINTR"],
        "recvmsg": ["ENOBUFS", "EINTR"], "recvfrom": ["ENOMEM", "EINTR"], "clone": ["EAGAIN", "ENOMEM"],
        "clone3": ["EPERM", "EAGAIN", "ENOSYS"], "signalfd4": ["EMFILE", "ENOMEM"], "fcntl": ["EMFILE"],
        "dup2": ["EBUSY", "EINTR"], "close_range": ["EPERM", "ENOSYS"], "chdir": ["EPERM"],
        "flock": ["ENOLCK", "EINTR"], "write": ["ENOSPC", "EINTR", "EBUSY"], "read": ["EINTR", "ENOMEM", "EIO"],
        "poll": ["EINTR", "ENOMEM"], "newfstatat": ["ENOMEM", "EPERM"], "fstatfs": ["ENOMEM"], "lseek": ["EINVAL"],
        "getdents64": ["ENOMEM"], "faccessat2": ["EPERM"], "shutdown": ["ENOMEM"], "waitid": ["EINTR", "ECHILD"],
        "rt_sigprocmask": ["EINVAL"], "rt_sigaction": ["EINVAL"], "prlimit64": ["EPERM"], "capget": ["EPERM"],
        "uname": ["EPERM"], "getsockopt": ["ENOMEM"], "memfd_create": ["EMFILE", "ENOMEM"], "ftruncate": ["EINTR"],
        "connect": ["EINTR"],
        "renameat": ["ENOSPC"], "fchdir": ["EPERM"],
        "pidfd_send_signal": ["EPERM"], "kill": ["EPERM"],
        // In place of dup2 and poll, which arm64 hasn't.
        "dup3": ["EBUSY", "EINTR"], "ppoll": ["EINTR", "ENOMEM"],
    ]

    let call: String
    /// What happens, as strace has it: `error=EPERM` or `signal=KILL`.
    let effect: String
    /// Which of the victim's calls of that name it is, from 1.
    let number: Int

    var description: String { "\(effect) of \(call) \(number)" }

    /// The options of strace(1) that make it.
    var options: [String] { ["-e", "trace=\(call)", "-e", "inject=\(call):\(effect):when=\(number)"] }

    /// All faults of the calls in what strace wrote of one process.
    static func all(in trace: String) -> [Fault] {
        all(in: trace) { $0.map { "error=\($0)" } }
    }

    /// As many ways to be killed in those calls.
    static func kills(in trace: String) -> [Fault] { all(in: trace) { _ in ["signal=KILL"] } }

    private static func all(in trace: String, effects: ([String]) -> [String]) -> [Fault] {
        var counts: [String: Int] = [:]
        var (rowStart, row): (Substring, Int) = ("", 0)
        return trace.split(separator: "\n").flatMap { line -> [Fault] in
            let call = String(line.prefix { $0 != "(" })
            guard let errors = errors[call] else { return [] }
            counts[call, default: 0] += 1
            // A line on standard error that is lost is no concern of ours.
            if line.hasPrefix("write(2,") { return [] }
            // Of the thousand reads of a large file, as the kernel's types are, the first few stand for all.
            row = line.prefix { $0 != "," } == rowStart ? row + 1 : 1
            rowStart = line.prefix { $0 != "," }
            if row > 3 { return [] }
            return effects(errors).map { Fault(call: call, effect: $0, number: counts[call] ?? 0) }
        }
    }
}

/// Where runs meet faults: namespaces with a loopback and a place for records that nobody else has.
final class FaultyPlace {
    /// Which process of a run meets the fault.
    enum Victim: String, CaseIterable {
        case wrapper, `guard`
    }

    private let lab: Lab
    private let namespace: Namespace
    /// Keeps the mount namespace.
    private let holder: Child
    /// The run that others share the group with.
    private var founder: Child?
    /// What runs already, with a connection in use, in a cgroup that nobody else has.
    let target: Child?
    let home: TestCgroup
    private let before: String
    private let recordsBefore: [String]

    static let group = "faulty"

    init(_ lab: Lab, hasFilters: Bool = false, hasGroup: Bool = false, hasTarget: Bool = false) throws {
        self.lab = lab
        namespace = try Namespace(lab)
        if hasFilters { try lab.require(["tc", "-n", namespace.name, "qdisc", "add", "dev", "lo", "clsact"]) }
        let script = "mkdir -p /run/throttle; mount -t tmpfs -o mode=700 none /run/throttle; echo ready; read x"
        holder = try lab.start(
            namespace.entry + ["unshare", "-m", "sh", "-ec", script], in: lab.helpers, input: .pipe)
        try holder.waitForOutput("ready")
        let entry = ["nsenter", "-t", "\(holder.pid)", "-m"] + namespace.entry
        if hasGroup {
            let words = throttle("-d", "50k", "-u", "50k", "-g", FaultyPlace.group, "--mode", "shape")
            let run = try lab.start(entry + words + ["sh", "-c", "echo ready; read x"], in: lab.helpers, input: .pipe)
            try run.waitForOutput("ready")
            try lab.require(entry + [throttlePath, "set", "-g", FaultyPlace.group, "-d", "50k"])
            founder = run
        }
        home = try TestCgroup("home", in: lab.helpers.path)
        target = hasTarget ? try FaultyPlace.startTarget(entry, lab, home) : nil
        self.entry = entry
        before = try FaultyPlace.devices(lab, namespace)
        recordsBefore = FaultyPlace.records(holder)
    }

    private static func startTarget(_ entry: [String], _ lab: Lab, _ home: TestCgroup) throws -> Child {
        let script = """
            import socket, time
            server = socket.create_server(("127.0.0.1", 0))
            one, other = socket.create_connection(server.getsockname()), server.accept()[0]
            print("ready", flush=True)
            while True:
                one.send(b"x")
                other.recv(1)
                time.sleep(0.01)
            """
        let target = try lab.start(entry + ["/usr/bin/python3", "-c", script], in: home)
        try target.waitForOutput("ready")
        return target
    }

    private let entry: [String]
    private var log: String { "\(lab.folder)/strace" }

    /// What strace wrote of the victim when it met no fault.
    func trace(of victim: Victim, _ words: [String]) throws -> String {
        _ = try run(words, victim)
        return try String(decoding: lab.content("strace"), as: UTF8.self)
    }

    /// Runs throttle, as `words` say, to its end.
    func run(_ words: [String], _ victim: Victim, _ fault: Fault? = nil) throws -> Completed {
        switch victim {
        case .wrapper: try lab.run(entry + ["strace", "-D", "-qq", "-o", log] + (fault?.options ?? []) + words)
        case .guard: try runFailingGuard(words, fault)
        }
    }

    /// One strace(1) stops the guard as it starts, and another takes it over: a fault by number would meet both processes.
    private func runFailingGuard(_ words: [String], _ fault: Fault?) throws -> Completed {
        let starts = "starts-\(Lab.nextNumber())"
        let stopping = ["-e", "trace=setsid", "-e", "inject=setsid:signal=SIGSTOP"]
        let child = try lab.start(
            entry + ["strace", "-D", "-f", "-qq", "-o", "\(lab.folder)/\(starts)"] + stopping + words)
        var found: pid_t?
        // As long as it takes where others use the machine: strace stops throttle at each of its calls.
        _ = poll {
            let text = (try? lab.content(starts)).map { String(decoding: $0, as: UTF8.self) } ?? ""
            found = text.firstMatch(of: /([0-9]+) +--- stopped by SIGSTOP/).flatMap { pid_t($0.1) }
            return found != nil || child.hasEnded()
        }
        // It may fail before, as where its group doesn't answer in time: that is judged as any other end.
        if found == nil && child.hasEnded() { return try child.wait() }
        guard let pid = found, let tracer = FaultyPlace.tracer(of: pid) else {
            throw HarnessError("no guard \(found == nil ? "started" : "is traced"): \(child.stderr)")
        }
        // It would wait for the end of all; without it, the guard stays stopped.
        kill(tracer, SIGKILL)
        guard poll(until: { FaultyPlace.tracer(of: pid) == nil }) else { throw HarnessError("the guard stays traced") }
        let strace = try lab.start(
            ["strace", "-qq", "-o", log] + (fault?.options ?? []) + ["-p", "\(pid)"], in: lab.helpers)
        guard poll(until: { FaultyPlace.tracer(of: pid) != nil }) else { throw HarnessError(strace.stderr) }
        kill(pid, SIGCONT)
        let completed = try child.wait()
        _ = try strace.wait()
        return completed
    }

    private static func tracer(of pid: pid_t) -> pid_t? {
        let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        let tracer = status.firstMatch(of: /TracerPid:\s*([0-9]+)/).flatMap { pid_t($0.1) }
        return tracer == 0 ? nil : tracer
    }

    /// What stays of all runs, after a while in which their guards may end; nil if that is nothing. A tcx link needs no look:
    /// it goes with the last process that has it.
    func leftovers() throws -> String? {
        var left = ""
        let isClean = poll(timeout: .seconds(5)) {
            let records = Set(FaultyPlace.records(holder)).subtracting(recordsBefore)
            let astray = Set([target?.pid].compactMap { $0 }).subtracting(home.processes)
            let cgroups = lab.cgroup.children + home.children
            left = "\(cgroups) \(lab.cgroup.processes + astray) \(records.sorted())"
            guard left == "[] [] []" else { return false }
            left = (try? FaultyPlace.devices(lab, namespace)) ?? "?"
            return left == before
        }
        return isClean ? nil : left
    }

    /// Has the next run sweep what stayed: one that waits for its guard, which a short one may end before.
    func sweep() throws {
        _ = try lab.run(entry + throttle("-d", "50k", "--mode", "shape") + ["true"])
    }

    private static func records(_ holder: Child) -> [String] {
        let folder = "/proc/\(holder.pid)/root/run/throttle"
        return (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? ["?"]
    }

    private static func devices(_ lab: Lab, _ namespace: Namespace) throws -> String {
        let script = """
            ip -o link | cut -d' ' -f2-8; tc qdisc; tc filter show dev lo ingress; ss -tinH | grep -o 'pacing_rate [^ ]*/.*'
            true
            """
        return try lab.require(namespace.entry + ["sh", "-c", script])
    }
}
