import Glibc
import Kernel
import Logging
import SystemPackage

/// The cgroups of one run: `throttle-ID` (the parent, with the witness) and `throttle-ID/run` (the
/// command). The parent is the run's own: no run executes another's witness, and none can use up the 64
/// places for programs. A lock on it, which dies with its holder, tells live runs from dead ones.
package struct RunCgroup: ~Copyable {
    /// The number in its name: the pid of the process that made it, and `-2` and so on where that was taken.
    package let id: String
    /// `throttle-ID`, whose descriptor has the lock.
    package let parent: CgroupDirectory
    /// `throttle-ID/run`, where the command starts.
    package let run: CgroupDirectory
    /// Where the run was made.
    package let base: CgroupDirectory
    private let log: Logger
    var isLeft = false

    /// Makes both cgroups below `base`. `place`: why it is there.
    package init(in base: consuming CgroupDirectory, _ place: Place = .anywhere, log: Logger) throws(SystemError) {
        let parent = try RunCgroup.makeParent(in: base, place)
        let name = parent.name
        do {
            run = try parent.makeChild("run")
        } catch {
            base.removeChild(name)
            throw SystemError("create cgroup", parent.path + "/run", errno: error)
        }
        id = RunCgroup.id(of: name) ?? name
        self.parent = parent
        self.base = base
        self.log = log
        log.debug("created cgroup \(run.path)")
    }

    /// Those that another process made below `base`, whose lock it shares with us by this descriptor.
    package init(
        sharing lock: consuming Descriptor, named name: String, in base: consuming CgroupDirectory,
        log: Logger
    ) throws(SystemError) {
        let parent = CgroupDirectory(lock, base.path(of: name))
        do {
            run = try parent.child("run")
        } catch {
            throw SystemError("open cgroup", parent.path + "/run", errno: error)
        }
        id = RunCgroup.id(of: name) ?? name
        self.parent = parent
        self.base = base
        self.log = log
    }

    /// Whether this process is in the cgroup of a run itself: that one counts what its command leaves behind.
    package static var isCallerInside: Bool { (try? CgroupDirectory.pathOfCaller()).flatMap(run(around:)) != nil }

    /// The id of the innermost run that a cgroup is of, by its path; nil where there is none.
    package static func run(around path: String) -> String? {
        path.split(separator: "/").reversed().lazy.compactMap { id(of: String($0)) }.first
    }

    deinit {
        // Somebody else's of that name may have come after ours.
        if isLeft || !base.contains(parent.name, as: parent) { return }
        // Once more where it fails: after the guard, only the next run would try.
        let isRemoved = remove() || remove()
        if isRemoved {
            log.debug("removed cgroup \(parent.path)")
        } else {
            log.warning("\(SystemError("remove cgroup", parent.path))")
        }
    }

    private func remove() -> Bool {
        run.removeTree()
        parent.removeChild("run")
        return base.removeChild(parent.name)
    }

    /// How many runs are around this one.
    package var depth: Int {
        parent.path.split(separator: "/").dropLast().count { RunCgroup.id(of: String($0)) != nil }
    }

    /// The id in the name of a run's parent cgroup (a pid, and a number where that was taken), nil if
    /// the name isn't one of ours: `throttle-web.service` belongs to somebody else.
    static func id(of name: String) -> String? {
        guard name.hasPrefix("throttle-") else { return nil }
        let id = name.dropFirst("throttle-".count)
        let parts = id.split(separator: "-", omittingEmptySubsequences: false)
        return parts.count <= 2 && parts.allSatisfy { UInt32($0) != nil && $0.first != "+" } ? String(id) : nil
    }

    /// The name of a run's parent cgroup. Processes of several pid namespaces may share a cgroup, so a pid alone can be
    /// taken.
    static func name(of pid: pid_t, attempt: Int) -> String {
        "throttle-\(pid)" + (attempt == 1 ? "" : "-\(attempt)")
    }

    private static func makeParent(
        in base: borrowing CgroupDirectory, _ place: Place
    ) throws(SystemError) -> CgroupDirectory {
        var failure = Errno.fileExists
        for attempt in 1...100 {
            let name = name(of: getpid(), attempt: attempt)
            do throws(Errno) {
                let parent = try base.makeChild(name)
                // Others may be looking at it.
                if parent.descriptor.lock(milliseconds: 100) && base.contains(name, as: parent) { return parent }
                failure = Errno(rawValue: Glibc.errno)
                // Empty, and nobody's: another run's sweep has it, or it can't be locked.
                base.removeChild(name)
            } catch .fileExists {
                continue
            } catch {
                failure = error
                // Another run's sweep may have taken the cgroup before it was locked.
                if error != .noSuchFileOrDirectory { break }
            }
        }
        throw SystemError("create a cgroup in", base.path, errno: failure, hint: hint(for: failure, place))
    }

    /// What a run is below, which tells what helps where it can't be.
    package enum Place: Sendable {
        /// Where throttle is, which can have itself started elsewhere.
        case anywhere
        /// Where throttle is.
        case caller
        /// Where processes are that it limits.
        case target
    }

    static func hint(for errno: Errno, _ place: Place = .anywhere) -> String? {
        switch errno {
        case .permissionDenied, .notPermitted: "run as root" + delegation(place)
        case .readOnlyFileSystem: "the cgroup file system is mounted read-only here, as in unprivileged containers"
        case .operationNotSupportedByDevice: "the cgroup of this process was removed; start a new session"
        default: nil
        }
    }

    private static func delegation(_ place: Place) -> String {
        if place == .target { return "" }
        return ", or in a cgroup that is delegated to you ("
            + (place == .anywhere && Host.hasSystemd ? "as throttle run --systemd … does it, or " : "")
            + "systemd-run --user --scope -p Delegate=yes throttle …)"
    }
}

extension CgroupDirectory {
    /// Asks whether runs could be made here, without making any.
    package func requireDelegation() throws(SystemError) {
        for (name, mode) in [(".", W_OK | X_OK), ("cgroup.procs", W_OK)] {
            if faccessat(descriptor.rawValue, name, mode, AT_EACCESS) == 0 { continue }
            let errno = Errno(rawValue: Glibc.errno)
            throw SystemError("create a cgroup in", path, errno: errno, hint: RunCgroup.hint(for: errno))
        }
    }

    /// Whether the caller may move processes here. Where nothing is moved, no other check of the kernel's keeps the user of a
    /// capable binary off others' processes.
    package func requireControl() throws(SystemError) {
        if faccessat(descriptor.rawValue, "cgroup.procs", W_OK, AT_EACCESS) == 0 { return }
        let errno = Errno(rawValue: Glibc.errno)
        let isDenied = [.permissionDenied, .notPermitted].contains(errno)
        throw SystemError(
            "limit", "cgroup \(path)", errno: errno, hint: isDenied ? "run as root: it isn't delegated to you" : nil)
    }

    /// Whether there is a cgroup here of a run that the process `pid` set up.
    package func hasRun(of pid: pid_t) -> Bool {
        children().contains { $0 == RunCgroup.name(of: pid, attempt: 1) || $0.hasPrefix("throttle-\(pid)-") }
    }
}
