import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

@testable import Cgroups

@Suite struct CgroupDirectoryTests {
    @Test func `the caller's cgroup has the caller's process in it`() throws {
        #expect(try CgroupDirectory.ofCaller().processes().contains("\(getpid())"))
    }

    @Test(arguments: ["/tmp", "/proc"])
    func `a directory of another file system is refused`(path: String) {
        let error = #expect(throws: SystemError.self) { _ = try CgroupDirectory(opening: path) }
        #expect(error?.errno == .notSupported)
        #expect(error?.description.contains("can't use \(path)") == true)
        #expect(error?.description.contains("not a directory of a cgroup v2 file system") == true)
    }

    @Test func `a cgroup that isn't there is named in the error`() {
        let error = #expect(throws: SystemError.self) { _ = try CgroupDirectory(opening: "/no/such") }
        #expect(error?.description == "can't open cgroup /no/such: No such file or directory")
    }

    @Test func `the way up leads through all parents and ends at the top`() throws {
        let cgroup = try TestCgroup()
        try cgroup.make("a/b")
        var paths: [String] = []
        var next: CgroupDirectory? = try cgroup.open("a/b")
        while let here = next.take() {
            paths.append(here.path)
            next = here.above()
        }
        let caller = try CgroupDirectory.ofCaller().path
        #expect(paths.prefix(4) == [cgroup.path + "/a/b", cgroup.path + "/a", cgroup.path, caller])
        #expect(access((try #require(paths.last)) + "/cgroup.type", F_OK) != 0)
    }

    @Test func `children and processes are those directly inside`() throws {
        let cgroup = try TestCgroup()
        try cgroup.make("a/below")
        try cgroup.make("b")
        let inside = try Sleeper(in: cgroup.path + "/a/below")
        #expect(try cgroup.open().children().sorted() == ["a", "b"])
        #expect(try cgroup.open("a").processes().isEmpty)
        #expect(try cgroup.open("a/below").processes() == ["\(inside.pid)"])
    }
}
