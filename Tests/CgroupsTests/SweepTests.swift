import Glibc
import TestSupport
import Testing

@testable import Cgroups

@Suite struct SweepTests {
    @Test func `what dead runs left is removed`() throws {
        let base = try TestCgroup()
        try base.make("throttle-1/run")
        try base.make("throttle-4194304-2/run/made/by/command")
        try base.make("throttle-7")
        #expect(try base.open().sweep().sorted() == ["throttle-1", "throttle-4194304-2", "throttle-7"])
        #expect(base.tree.isEmpty)
        #expect(try base.open().sweep().isEmpty)
    }

    @Test(arguments: [
        "throttle-web.service", "throttle-", "throttle", "throttle-1x", "throttle-x", "throttle--1", "throttle-1-",
        "throttle-1-2-3", "throttle-1.scope", "throttle--", "Throttle-1", "xthrottle-1",
        "throttle-99999999999999999999", "throttle-0x1", "throttle-1 ", "throttle-+1", "throttle-1-+2", "throttle-١",
        "throttle_1", "run",
    ])
    func `what isn't named like a run stays`(name: String) throws {
        let base = try TestCgroup()
        try base.make(name + "/run")
        #expect(RunCgroup.id(of: name) == nil)
        #expect(try base.open().sweep().isEmpty)
        #expect(base.tree == [name, name + "/run"])
    }

    @Test func `a live run stays`() throws {
        let base = try TestCgroup()
        let cgroup = try RunCgroup(in: try base.open(), log: .silent)
        #expect(try base.open().sweep().isEmpty)
        #expect(base.tree == ["throttle-\(cgroup.id)", "throttle-\(cgroup.id)/run"])
    }

    @Test func `a run stays while its parent cgroup is locked, even without children`() throws {
        let base = try TestCgroup()
        try base.make("throttle-1")
        do {
            let holder = try base.open("throttle-1")
            let isLocked = holder.lock()
            #expect(isLocked)
            #expect(try base.open().sweep().isEmpty)
            #expect(base.tree == [holder.name])
        }
        // A child that another test forks holds the lock too, until its exec.
        var swept: [String] = []
        for _ in 0..<100 where swept.isEmpty {
            swept = try base.open().sweep()
            if swept.isEmpty { usleep(10_000) }
        }
        #expect(swept == ["throttle-1"])
    }

    @Test func `a dead run with processes stays until they end`() throws {
        let base = try TestCgroup()
        try base.make("throttle-1/run")
        try base.make("throttle-2/run")
        do {
            let process = try Sleeper(in: base.path + "/throttle-1/run")
            #expect(try base.open().sweep() == ["throttle-2"])
            #expect(base.tree == ["throttle-1", "throttle-1/run"])
            #expect(try process.cgroup.contains("/throttle-1/run"))
        }
        #expect(try base.open().sweep() == ["throttle-1"])
        #expect(base.tree.isEmpty)
    }

    /// Each looks at all cgroups again and again, and a new one has no lock at first.
    @Test func `a new run has the name that it wants, whoever looks`() async throws {
        let base = try TestCgroup()
        let path = base.path
        let observers = (0..<3).map { _ in
            Task.detached {
                while !Task.isCancelled {
                    _ = try CgroupDirectory(opening: path).leftovers(isRemoving: false)
                }
            }
        }
        var ids: Set<String> = []
        for _ in 0..<1000 { ids.insert(try RunCgroup(in: try base.open(), log: .silent).id) }
        for observer in observers { observer.cancel() }
        for observer in observers { try await observer.value }
        #expect(ids == ["\(getpid())"])
        #expect(base.tree.isEmpty)
    }

    @Test func `a dead run that somebody looks at is named to others, too`() throws {
        let base = try TestCgroup()
        try base.make("throttle-1")
        let observer = try base.open("throttle-1")
        #expect(flock(observer.descriptor.rawValue, LOCK_SH | LOCK_NB) == 0)
        #expect(try base.open().leftovers(isRemoving: false).map(\.name) == [observer.path])
    }

    @Test func `sweeps and starts at the same time harm no live run`() async throws {
        let base = try TestCgroup()
        let path = base.path
        try await withThrowingTaskGroup { group in
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<50 {
                        _ = try CgroupDirectory(opening: path).sweep()
                        let cgroup = try RunCgroup(in: try CgroupDirectory(opening: path), log: .silent)
                        _ = try CgroupDirectory(opening: path).sweep()
                        #expect(access(cgroup.run.path, F_OK) == 0)
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(base.tree.isEmpty)
    }
}
