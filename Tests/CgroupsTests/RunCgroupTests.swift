import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

@testable import Cgroups

@Suite struct RunCgroupTests {
    private struct Interruption: Error {}

    @Test func `a run has two cgroups for as long as its scope`() throws {
        let base = try TestCgroup()
        do {
            let cgroup = try RunCgroup(in: try base.open(), log: .silent)
            let name = "throttle-\(getpid())"
            #expect(cgroup.id == "\(getpid())")
            #expect(cgroup.parent.path == "\(base.path)/\(name)")
            #expect(cgroup.run.path == "\(base.path)/\(name)/run")
            #expect(base.tree == [name, "\(name)/run"])
        }
        #expect(base.tree.isEmpty)
    }

    @Test func `a run's cgroups go when an error ends its scope`() throws {
        let base = try TestCgroup()
        #expect(throws: Interruption.self) {
            let cgroup = try RunCgroup(in: try base.open(), log: .silent)
            #expect(base.tree.count == 2)
            #expect(access(cgroup.run.path, F_OK) == 0)
            throw Interruption()
        }
        #expect(base.tree.isEmpty)
    }

    @Test func `cgroups that the command made go with the run's`() throws {
        let base = try TestCgroup()
        do {
            let cgroup = try RunCgroup(in: try base.open(), log: .silent)
            try base.make("throttle-\(cgroup.id)/run/a/b")
            try base.make("throttle-\(cgroup.id)/run/c")
        }
        #expect(base.tree.isEmpty)
    }

    @Test func `a cgroup goes though a process has only just ended in it`() throws {
        let base = try TestCgroup()
        for _ in 0..<20 {
            do {
                let cgroup = try RunCgroup(in: try base.open(), log: .silent)
                _ = try Sleeper(in: cgroup.run.path)
            }
            #expect(base.tree.isEmpty)
        }
    }

    @Test func `runs with one process id get names of their own`() throws {
        let base = try TestCgroup()
        do {
            let first = try RunCgroup(in: try base.open(), log: .silent)
            let second = try RunCgroup(in: try base.open(), log: .silent)
            let third = try RunCgroup(in: try base.open(), log: .silent)
            let pid = "\(getpid())"
            #expect([first.id, second.id, third.id] == [pid, pid + "-2", pid + "-3"])
            #expect(base.tree.filter { !$0.contains("/") } == [pid, "\(pid)-2", "\(pid)-3"].map { "throttle-\($0)" })
        }
        #expect(base.tree.isEmpty)
    }

    @Test func `runs nest`() throws {
        let base = try TestCgroup()
        do {
            let outer = try RunCgroup(in: try base.open(), log: .silent)
            let inner = try RunCgroup(in: try CgroupDirectory(opening: outer.run.path), log: .silent)
            #expect(inner.run.path.hasPrefix(outer.run.path + "/"))
            #expect(base.tree.last == "throttle-\(outer.id)/run/throttle-\(inner.id)/run")
        }
        #expect(base.tree.isEmpty)
    }

    @Test func `a base that was removed is refused`() async {
        await #expect(processExitsWith: .success) {
            alarm(5)
            let error = #expect(throws: SystemError.self) { _ = try RunCgroup(in: try removedCgroup(), log: .silent) }
            #expect(error?.operation == "create a cgroup in")
        }
    }

    @Test func `released processes are in the base, none in the run`() throws {
        let base = try TestCgroup()
        let cgroup = try RunCgroup(in: try base.open(), log: .silent)
        try base.make("throttle-\(cgroup.id)/run/below")
        let direct = try Sleeper(in: cgroup.run.path)
        let nested = try Sleeper(in: cgroup.run.path + "/below")
        let moved = cgroup.release()
        #expect(moved == 2)
        #expect(try base.open().processes().sorted() == ["\(direct.pid)", "\(nested.pid)"].sorted())
        #expect(cgroup.run.processes().isEmpty)
        let left = cgroup.release()
        #expect(left == 0)
    }

    @Test func `a live run inside keeps its processes, a dead one doesn't`() throws {
        let base = try TestCgroup()
        let outer = try RunCgroup(in: try base.open(), log: .silent)
        let live = try RunCgroup(in: try CgroupDirectory(opening: outer.run.path), log: .silent)
        try base.make("throttle-\(outer.id)/run/throttle-1/run")
        let limited = try Sleeper(in: live.run.path)
        let left = try Sleeper(in: outer.run.path + "/throttle-1/run")
        let moved = outer.release()
        #expect(moved == 1)
        #expect(live.run.processes() == ["\(limited.pid)"])
        #expect(try base.open().processes() == ["\(left.pid)"])
    }
}

private func removedCgroup() throws -> CgroupDirectory {
    let cgroup = try TestCgroup()
    return try cgroup.open()
}
