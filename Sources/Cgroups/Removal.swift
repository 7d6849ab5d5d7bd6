import CKernel
import Glibc
import Kernel
import SystemPackage

extension CgroupDirectory {
    func makeChild(_ name: String) throws(Errno) -> CgroupDirectory {
        if mkdirat(descriptor.rawValue, name, 0o755) < 0 { throw Errno(rawValue: Glibc.errno) }
        do {
            return try child(name)
        } catch {
            removeChild(name)
            throw error
        }
    }

    /// Removes an empty child. A process that just ended may still count for a moment.
    @discardableResult
    func removeChild(_ name: String) -> Bool {
        for _ in 0..<50 {
            if unlinkat(descriptor.rawValue, name, AT_REMOVEDIR) == 0 { return true }
            if errno == ENOENT { return true }
            guard errno == EBUSY, let child = try? child(name), child.processes().isEmpty,
                child.children().isEmpty, let events = try? child.events()
            else { return false }
            events.awaitChange(milliseconds: 10)
        }
        return false
    }

    /// Removes all empty cgroups below this one.
    func removeTree() {
        for name in children() {
            (try? child(name))?.removeTree()
            removeChild(name)
        }
    }

    /// Takes the lock that marks a live run; false if another process has it.
    func lock() -> Bool { descriptor.lock() }

    /// Whether `name` still leads to `child`: a sweep may have taken it between its creation and its lock.
    func contains(_ name: String, as child: borrowing CgroupDirectory) -> Bool {
        child.descriptor.isNamed(name, in: descriptor)
    }

    /// What tells when the cgroup becomes empty.
    package func events() throws(Errno) -> CgroupEvents {
        CgroupEvents(file: try Descriptor(opening: "cgroup.events", in: descriptor.rawValue, O_RDONLY))
    }

    /// How many processes are in this cgroup and below. Where that can't be read, there may be one.
    package var population: Int {
        children().reduce((try? readProcesses())?.count ?? 1) { count, name in
            count + ((try? child(name))?.population ?? 0)
        }
    }

    /// The processes of this cgroup and of those below.
    package var allProcesses: [pid_t] {
        children().reduce(processes().compactMap { pid_t($0) }) { $0 + ((try? child($1))?.allProcesses ?? []) }
    }

    /// Sends a signal to every process of this cgroup and of those below.
    package func send(_ signal: CInt) {
        for pid in processes().compactMap({ pid_t($0) }) { kill(pid, signal) }
        for name in children() { (try? child(name))?.send(signal) }
    }

    /// Kills every process of this cgroup and of those below, also those that are forked meanwhile, and waits until
    /// they are gone, a second at most.
    package func killProcesses() {
        // Linux 5.14.
        let all = try? Descriptor(opening: "cgroup.kill", in: descriptor.rawValue, O_WRONLY)
        guard let events = try? events() else { return send(SIGKILL) }
        for _ in 0..<100 where events.isPopulated {
            if (try? all?.write("1")) == nil { send(SIGKILL) }
            events.awaitChange(milliseconds: 10)
        }
    }

    /// Moves every process of this cgroup and of those below to `target`. Returns how many there were.
    func moveProcesses(to target: borrowing CgroupDirectory) -> Int {
        var moved = 0
        if let procs = try? Descriptor(opening: "cgroup.procs", in: target.descriptor.rawValue, O_WRONLY) {
            // Again while some are left: a process may fork while it is being moved.
            for _ in 0..<100 {
                let pids = processes()
                let accepted = pids.count { (try? procs.write($0)) != nil }
                moved += accepted
                if accepted == 0 { break }
            }
        }
        for name in children() {
            guard let below = try? child(name) else { continue }
            // A run that was started inside and still lives keeps its processes, and so its own limit.
            if RunCgroup.id(of: name) == nil || below.lock() { moved += below.moveProcesses(to: target) }
        }
        return moved
    }

    /// Removes the cgroups that dead runs left here and that no process uses. Returns their names.
    package func sweep() -> [String] {
        children().filter { name in
            guard let dead = deadRun(name) else { return false }
            dead.removeTree()
            return removeChild(name)
        }
    }

    /// Finds the cgroups that dead runs left, here and below. With `isRemoving`, removes them, and moves processes that
    /// are still there up to the cgroup that the run was made in.
    package func leftovers(isRemoving: Bool) -> [Leftover] {
        children().flatMap { name in
            guard let dead = deadRun(name, isKept: !isRemoving) else {
                return (try? child(name))?.leftovers(isRemoving: isRemoving) ?? []
            }
            var found = Leftover(.cgroup, dead.path)
            let processes = isRemoving ? dead.moveProcesses(to: self) : dead.population
            if processes > 0 { found.note = "\(processes) \(processes == 1 ? "process" : "processes") in it" }
            if isRemoving {
                dead.removeTree()
                if !removeChild(name) { found.failure = "\(SystemError("remove cgroup", dead.path))" }
            }
            return [found]
        }
    }

    /// The cgroup of this name if a run made it that is dead; unless it `isKept`, nobody else takes it for theirs while we
    /// have it.
    private func deadRun(_ name: String, isKept: Bool = false) -> CgroupDirectory? {
        guard RunCgroup.id(of: name) != nil, let dead = try? child(name), dead.isOurs,
            isKept ? !dead.descriptor.isLockedByOthers : dead.lock()
        else { return nil }
        return dead
    }

    /// Whether the caller made it, or is root.
    private var isOurs: Bool {
        var status = stat()
        return geteuid() == 0 || fstat(descriptor.rawValue, &status) == 0 && status.st_uid == geteuid()
    }
}

/// Tells when the last process of a cgroup and of those below ends.
package struct CgroupEvents: ~Copyable, Sendable {
    fileprivate let file: Descriptor

    /// Changes (poll(2), POLLPRI) when `isPopulated` does.
    package var descriptor: CInt { file.rawValue }

    /// Waits until it does, but not longer.
    fileprivate func awaitChange(milliseconds: UInt64) {
        var poller = Poller<Void>()
        poller.addChange(of: descriptor, ())
        poller.wake(at: Host.monotonicNanoseconds + milliseconds * 1_000_000)
        _ = poller.wait()
    }

    /// Whether there are processes. A cgroup that was removed has none; one that can't be read may have some.
    package var isPopulated: Bool {
        lseek(file.rawValue, 0, SEEK_SET)
        do {
            let text = String(decoding: try file.readAll(), as: UTF8.self)
            return !text.split(separator: "\n").contains("populated 0")
        } catch {
            return error != .operationNotSupportedByDevice
        }
    }
}

extension RunCgroup {
    /// Moves what the command left running to the caller's cgroup, where nothing limits it any more.
    /// Returns how many processes that were.
    package func release() -> Int {
        run.moveProcesses(to: base)
    }

    /// Moves these processes into the run. Those that have ended are left out; so is what may not be moved, which is told.
    package func take(_ processes: some Sequence<pid_t>) throws(SystemError) {
        let procs = try attempting("open", run.path + "/cgroup.procs") { () throws(Errno) in
            try Descriptor(opening: "cgroup.procs", in: run.descriptor.rawValue, O_WRONLY)
        }
        for process in processes {
            do throws(Errno) {
                try procs.write("\(process)")
            } catch .noSuchProcess {
                continue
            } catch {
                throw SystemError(
                    "move", "process \(process) to \(run.path)", errno: error,
                    hint: RunCgroup.hint(for: error, .target))
            }
        }
    }

    /// Takes our hands off: another process has the lock, too, and removes the cgroups.
    package mutating func leave() {
        isLeft = true
    }
}
