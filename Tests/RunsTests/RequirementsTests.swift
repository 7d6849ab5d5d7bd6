import CTestSupport
import Glibc
import Kernel
import Testing

@testable import Runs

@Suite struct RequirementsTests {
    @Test(arguments: [
        ("6.1.0-25-amd64", 6, 1), ("5.10", 5, 10), ("5.10.0", 5, 10), ("6.18-rc1", 6, 18), ("6.18.44-fc-v669", 6, 18),
        ("10.0.1", 10, 0), ("5.9.16+", 5, 9), ("5.15.167.4-microsoft-standard-WSL2", 5, 15),
    ])
    func `a kernel's version is the start of its release`(release: String, major: Int, minor: Int) {
        #expect(KernelVersion(release: release) == KernelVersion(major, minor))
    }

    @Test(arguments: ["", "6", "6.", "x.y", "v6.1", "-6.1", "6.x", ".6", "٦.١", "99999999999999999999.1"])
    func `a release of another form has no version`(release: String) {
        #expect(KernelVersion(release: release) == nil)
    }

    @Test func `versions are ordered by number, not by text`() {
        let versions = [(4, 19), (5, 7), (5, 10), (5, 12), (6, 0), (10, 1)].map { KernelVersion($0, $1) }
        #expect(versions.reversed().sorted() == versions)
        #expect(!(KernelVersion(5, 10) < KernelVersion(5, 10)))
        #expect("\(KernelVersion(5, 10))" == "5.10")
    }

    @Test func `the tests run as root on a kernel that is new enough`() throws {
        try #require(geteuid() == 0, "run the tests as root")
        #expect(try checkRequirements() >= KernelVersion(5, 10))
        #expect(Host.missingCapabilities(of: Capability.allCases).isEmpty)
    }

    @Test func `missing capabilities are named, with the line that grants them`() async {
        await #expect(processExitsWith: .success) {
            try #require(test_keep_capabilities(1 << Capability.netAdmin.rawValue) == 0)
            let error = #expect(throws: SetupError.self) { try checkRequirements() }
            let path = Host.executablePath
            #expect(access(path, X_OK) == 0)
            #expect(
                error?.description == "missing capabilities cap_bpf, cap_perfmon: run as root, or once:"
                    + " sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep \(path)")
        }
    }

    @Test func `CAP_SYS_ADMIN stands for BPF and PERFMON, not for NET_ADMIN`() async {
        await #expect(processExitsWith: .success) {
            try #require(test_keep_capabilities(1 << Capability.sysAdmin.rawValue) == 0)
            #expect(Host.missingCapabilities(of: [.bpf, .netAdmin, .perfmon, .setuid]) == [.netAdmin, .setuid])
            let error = #expect(throws: SetupError.self) { try checkRequirements() }
            #expect(error?.description.hasPrefix("missing capability cap_net_admin: ") == true)
        }
    }

    @Test func `three capabilities are enough`() async {
        await #expect(processExitsWith: .success) {
            let enough = [Capability.bpf, .netAdmin, .perfmon].reduce(UInt64(0)) { $0 | 1 << $1.rawValue }
            try #require(test_keep_capabilities(enough) == 0)
            #expect(Host.missingCapabilities(of: [.bpf, .netAdmin, .perfmon, .sysAdmin]) == [.sysAdmin])
            _ = try checkRequirements()
        }
    }
}
