import Foundation
import Testing

/// Many runs, one after the other and at once, and many sockets.
@Suite struct ScaleTests {
    let lab: Lab
    let namespace: Namespace

    init() throws {
        lab = try Lab()
        namespace = try Namespace(lab)
    }

    /// More than the 64 programs that Linux allows on a device: the rest are policed.
    @Test func `two hundred runs at once are all limited`() throws {
        let server = try FileServer(in: namespace, lab, bytes: 60_000)
        let runs = try (0..<200).map { number in
            let words = throttle("-d", "20k", "--stats=json", "--stats-file", "stats\(number)")
            let fetching = ["curl", "-sSf", "-o", "/dev/null", server.url("127.0.0.1")]
            return try lab.start(namespace.entry + words + fetching)
        }
        for run in runs { #expect(try run.wait().ending == .exited(0)) }
        let stats = try runs.indices.map { try lab.stats("stats\($0)") }
        #expect(stats.allSatisfy { !$0.not_throttled && $0.download.passed_payload_bytes >= 60_000 })
        #expect(stats.allSatisfy { ($0.download.achieved_ratio ?? 9) < 1.25 })
        #expect(stats.contains { $0.planes.contains("shape") })
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
        #expect(try lab.require(["ip", "-n", namespace.name, "-o", "link"]).split(separator: "\n").count == 1)
    }

    @Test(arguments: ["auto", "police"])
    func `ten thousand idle sockets leave the limit to the one that is not`(_ mode: String) throws {
        try lab.require(namespace.entry + ["sysctl", "-qw", "net.ipv4.ip_local_port_range=2000 65000"])
        let script = Fixtures.script("sockets.py")
        let server = try lab.start(namespace.entry + ["python3", script, "serve"], in: lab.helpers)
        try server.waitForOutput("ready")
        let words = throttle("-d", "1M", "-u", "1M", "--mode", mode, "--stats=json", "--stats-file", "stats")
        let completed = try lab.start(namespace.entry + words + ["python3", script, "10000", "3"]).wait()
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let rate = completed.stdout.split(separator: " ").last.flatMap { Double($0.dropLast()) } ?? 0
        #expect(0.9...1.12 ~= rate / 1_000_000)
        #expect(try lab.stats().download.clamped_sockets == 10_001)
    }

    @Test func `hundreds of runs in a row leave nothing to grow`() throws {
        let script = #"i=0; while [ $i -lt 300 ]; do "$@" || exit; i=$((i + 1)); done"#
        let words = throttle("-d", "50k", "-u", "50k") + ["true"]
        try lab.require(namespace.entry + ["sh", "-c", script, "sh"] + words)
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
        #expect(try lab.require(["ip", "-n", namespace.name, "-o", "link"]).split(separator: "\n").count == 1)
        #expect(try lab.require(namespace.entry + ["cat", "/proc/net/unix"]).contains("throttle") == false)
    }
}
