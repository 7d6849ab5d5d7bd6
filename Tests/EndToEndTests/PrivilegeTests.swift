import Foundation
import Testing

/// Users other than root: with file capabilities and a delegated cgroup, and without anything.
@Suite struct PrivilegeTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private static let nobody = [
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--ambient-caps=-all", "--",
    ]

    /// A copy of the binary that anyone may run; `capabilities` are the file's.
    private func copyOfBinary(capabilities: String? = nil) throws -> String {
        let path = "\(lab.folder)/throttle"
        try lab.require(["install", "-m", "755", throttlePath, path])
        if let capabilities { try lab.require(["setcap", capabilities, path]) }
        return path
    }

    /// Hands our cgroup over as cgroups(7) says it is delegated.
    private func delegate() throws {
        try lab.require(["chown", "65534", lab.cgroup.path, "\(lab.cgroup.path)/cgroup.procs"])
    }

    @Test func fileCapabilitiesAreEnoughInADelegatedCgroup() throws {
        try delegate()
        let binary = try copyOfBinary(capabilities: "cap_bpf,cap_net_admin,cap_perfmon+ep")
        for method in ["link", "legacy"] {
            let words = [binary, "-d", "50k", "--stats=json", "--attach", method, "--", "sh", "-c", "id -u; exit 3"]
            let completed = try lab.run(PrivilegeTests.nobody + words)
            #expect(completed.ending == .exited(3) && completed.stdout == "65534\n")
            #expect(try Stats(completed.stderr).attach_method == method)
            #expect(lab.cgroup.runs == [])
        }
    }

    /// nil: the run is recorded there.
    @Test(arguments: [
        ("ours", nil), ("missing", "No such file or directory"), ("link", "Not a directory"),
        ("open", "Permission denied"), ("theirs", "Permission denied"), ("relative", "Invalid argument"),
    ])
    func runtimeDirectoryMustBeTheUsersAlone(_ kind: String, _ reason: String?) throws {
        try delegate()
        let binary = try copyOfBinary(capabilities: "cap_bpf,cap_net_admin,cap_perfmon+ep")
        let script =
            "mkdir -m 700 ours theirs; mkdir -m 777 open; chown 65534 ours open; chmod 777 open; ln -s ours link"
        try lab.require(["sh", "-ec", script])
        let path = kind == "relative" ? "ours" : "\(lab.folder)/\(kind)"
        let words = [binary, "-d", "50k", "-v", "--", "sh", "-c", "ls $XDG_RUNTIME_DIR/throttle; exit 3"]
        let environment = ["env", "XDG_RUNTIME_DIR=\(path)"]
        let completed = try lab.run(environment + PrivilegeTests.nobody + words)
        #expect(completed.ending == .exited(3))
        let line = completed.stderr.split(separator: "\n").first { $0.contains("not recorded") }
        if let reason {
            #expect(line?.hasSuffix("can't use \(path)/throttle: \(reason)") == true, "\(completed.stderr)")
        } else {
            #expect(line == nil && completed.stdout != "")
        }
    }

    @Test func commandHasNoCapabilitiesOfTheWrapper() throws {
        try delegate()
        let binary = try copyOfBinary(capabilities: "cap_bpf,cap_net_admin,cap_perfmon+ep")
        let grep = ["grep", "-E", "^(Cap|NoNewPrivs|Sig)", "/proc/self/status"]
        let bare = try lab.run(PrivilegeTests.nobody + grep)
        let limited = try lab.run(PrivilegeTests.nobody + [binary, "-d", "50k", "--"] + grep)
        #expect(limited.ending == .exited(0))
        #expect(bare.stdout == limited.stdout)
        #expect(limited.stdout.contains("CapEff:\t0000000000000000"))
        #expect(limited.stdout.contains("CapPrm:\t0000000000000000"))
    }

    /// glibc takes these out of the environment of a program with file capabilities.
    @Test func environmentOfACapableBinaryReachesTheCommandUnchanged() throws {
        try delegate()
        let binary = try copyOfBinary(capabilities: "cap_bpf,cap_net_admin,cap_perfmon+ep")
        let environment = [
            "env", "-i", "LD_LIBRARY_PATH=/opt/none", "LD_DEBUG_OUTPUT=/tmp/none", "GCONV_PATH=/x", "TMPDIR=/var/tmp",
            "MALLOC_TRACE=/x", "RES_OPTIONS=ndots:1", "Z=\u{fc}", "A=", "PATH=/usr/bin:/bin",
        ]
        let show = ["/bin/cat", "/proc/self/environ"]
        let bare = try lab.run(PrivilegeTests.nobody + environment + show)
        let limited = try lab.run(PrivilegeTests.nobody + environment + [binary, "-d", "50k", "--"] + show)
        #expect(limited.ending == .exited(0))
        #expect(bare.stdout == limited.stdout)
        #expect(limited.stdout.contains("LD_LIBRARY_PATH=/opt/none\0"))
    }

    @Test func withoutCapabilitiesTheErrorNamesThemAndTheSetcapLine() throws {
        let binary = try copyOfBinary()
        let completed = try lab.watchingForCgroups {
            try lab.run(PrivilegeTests.nobody + [binary, "-d", "50k", "--", "touch", "ran"])
        }
        #expect(completed.value.ending == .exited(125) && completed.value.stdout == "")
        let lines = completed.value.stderr.split(separator: "\n")
        #expect(lines.count == 1)
        #expect(lines.first?.contains("missing capabilities cap_bpf, cap_net_admin, cap_perfmon:") == true)
        #expect(lines.first?.contains("setcap cap_bpf,cap_net_admin,cap_perfmon+ep \(binary)") == true)
        #expect(completed.made == [])
    }

    @Test(arguments: ["cap_bpf", "cap_net_admin", "cap_perfmon"])
    func errorNamesTheOneCapabilityThatIsMissing(_ missing: String) throws {
        try delegate()
        let others = ["cap_bpf", "cap_net_admin", "cap_perfmon"].filter { $0 != missing }.joined(separator: ",")
        let binary = try copyOfBinary(capabilities: "\(others)+ep")
        let completed = try lab.run(PrivilegeTests.nobody + [binary, "-d", "50k", "--", "true"])
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr.contains("missing capability \(missing):"))
    }

    @Test func foreignCgroupGives125AndSaysWhatToDo() throws {
        let binary = try copyOfBinary(capabilities: "cap_bpf,cap_net_admin,cap_perfmon+ep")
        let completed = try lab.run(PrivilegeTests.nobody + [binary, "-d", "50k", "--", "true"])
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr.contains("Permission denied") && completed.stderr.contains("delegated"))
        #expect(lab.cgroup.runs == [])
    }

    @Test func bestEffortRunsTheCommandAnyway() throws {
        let binary = try copyOfBinary()
        let words = [binary, "-d", "50k", "--best-effort", "--", "sh", "-c", "echo out; exit 8"]
        let completed = try lab.run(PrivilegeTests.nobody + words)
        #expect(completed.ending == .exited(8) && completed.stdout == "out\n")
        #expect(completed.stderr.contains("NOT THROTTLED") && completed.stderr.contains("cap_bpf"))
        #expect(completed.stderr.split(separator: "\n").count == 1)
    }

    @Test func bestEffortStillRefusesABadCommandLine() throws {
        let words = [throttlePath, "-d", "fast", "--best-effort", "--", "touch", "ran"]
        #expect(try lab.run(words).ending == .exited(125))
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
    }
}
