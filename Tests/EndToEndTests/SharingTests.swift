import Foundation
import Testing

/// Several processes under one limit, several limits over one process, several runs side by side.
@Suite(.serialized) struct SharingTests {
    let lab: Lab
    let network: NetworkPair
    private static let bytes = 300_000

    init() throws {
        lab = try Lab()
        network = try NetworkPair(lab)
    }

    private func limited(_ rate: String) -> [String] { throttle("--down", rate) }

    @Test func `smaller limit of nested runs wins`() throws {
        // Long enough for the bursts of both runs, a quarter of a second each, to stay within the bound.
        let bytes = 2 * SharingTests.bytes
        let server = try FileServer(in: network.far, lab, bytes: bytes)
        let url = server.url(NetworkPair.farAddress)
        for (outer, inner) in [("100k", "100M"), ("100M", "100k")] {
            let fetching = ["curl", "-sSf", "-o", "copy", url]
            let completed = try lab.run(network.near.entry + limited(outer) + limited(inner) + fetching)
            #expect(completed.ending == .exited(0) && completed.stderr == "")
            #expect(try lab.content("copy") == server.content)
            #expect((0.7...1.15).contains(Double(bytes) / completed.seconds / 100_000), "\(outer)")
        }
        #expect(lab.cgroup.runs == [])
    }

    @Test func `status comes through nested runs`() throws {
        let nested = throttle("-d", "1M") + throttle("-u", "1M") + throttle("-d", "2M")
        #expect(try lab.run(nested + ["sh", "-c", "exit 9"]).ending == .exited(9))
        #expect(try lab.run(nested + ["sh", "-c", "kill -USR2 $$"]).ending == .killed(SIGUSR2))
        #expect(try lab.run(nested + ["no-such-command-here"]).ending == .exited(127))
        #expect(lab.cgroup.runs == [])
    }

    /// They are in the cgroup of the outer run, and so would count as processes of its command.
    @Test func `guards of nested runs are not left behind`() throws {
        for _ in 0..<30 {
            let nested = throttle("-d", "1M", "--stats=json") + throttle("-u", "1M") + ["true"]
            #expect(try Stats(lab.run(nested).stderr).left_behind == 0)
        }
    }

    @Test func `twenty runs at once each hold their limit`() throws {
        let server = try FileServer(in: network.far, lab, bytes: SharingTests.bytes)
        let runs = try (0..<20).map {
            let fetching = ["curl", "-sSf", "-o", "copy\($0)", server.url(NetworkPair.farAddress)]
            return try lab.start(network.near.entry + limited("100k") + fetching)
        }
        for (number, run) in runs.enumerated() {
            let completed = try run.wait()
            #expect(completed.ending == .exited(0) && completed.stderr == "")
            #expect(try lab.content("copy\(number)") == server.content)
            #expect((0.5...1.2).contains(Double(SharingTests.bytes) / completed.seconds / 100_000))
        }
        #expect(lab.cgroup.children == [])
    }

    @Test func `static binary is limited`() throws {
        let server = try FileServer(in: network.far, lab, bytes: SharingTests.bytes)
        let fetching = ["busybox", "wget", "-q", "-O", "copy", server.url(NetworkPair.farAddress)]
        let completed = try lab.run(network.near.entry + limited("100k") + fetching)
        #expect(completed.ending == .exited(0))
        #expect(try lab.content("copy") == server.content)
        #expect((0.7...1.15).contains(Double(SharingTests.bytes) / completed.seconds / 100_000))
    }

    @Test func `processes of one command share its limit`() throws {
        let server = try FileServer(in: network.far, lab, bytes: SharingTests.bytes)
        let url = server.url(NetworkPair.farAddress)
        let script = "for i in 1 2 3 4; do setsid curl -sSf -o copy$i \(url) & done; wait"
        let completed = try lab.run(
            network.near.entry + throttle("--down", "300k", "--stats=json") + ["sh", "-c", script])
        #expect(completed.ending == .exited(0))
        for number in 1...4 { #expect(try lab.content("copy\(number)") == server.content) }
        // A connection among four can lose so much that it alone finishes late.
        #expect((0.3...1.15).contains(4 * Double(SharingTests.bytes) / completed.seconds / 300_000))
        #expect(try Stats(completed.stderr).download.passed_payload_bytes >= 4 * SharingTests.bytes)
    }

    @Test func `command that leaves its cgroup is reported as not throttled`() throws {
        let server = try FileServer(in: network.far, lab, bytes: SharingTests.bytes)
        let fetch = "exec curl -sSf -o copy \(server.url(NetworkPair.farAddress))"
        let script = "echo 0 >\(lab.cgroup.path)/cgroup.procs; \(fetch)"
        let completed = try lab.run(network.near.entry + limited("100k") + ["sh", "-c", script])
        #expect(completed.ending == .exited(0))
        #expect(completed.stderr.contains("NOT THROTTLED"))
        let withStats = throttle("--down", "100k", "--stats=json") + ["sh", "-c", script]
        let stats = try Stats(lab.run(network.near.entry + withStats).stderr)
        #expect(stats.not_throttled && stats.download.verdict == "not_throttled" && stats.warnings.count == 1)
    }

    /// What only the parent's witness sees.
    @Test func `traffic that bypasses the runs programs is reported as not throttled`() throws {
        let server = try FileServer(in: network.far, lab, bytes: SharingTests.bytes)
        let fetch = "exec curl -sSf -o copy \(server.url(NetworkPair.farAddress))"
        let leave = "for parent in \(lab.cgroup.path)/throttle-*; do echo 0 >$parent/cgroup.procs; done"
        let script = "(\(leave); \(fetch)); exit 4"
        let withStats = throttle("--down", "100k", "--stats=json") + ["sh", "-c", script]
        let completed = try lab.run(network.near.entry + withStats)
        #expect(completed.ending == .exited(4))
        let stats = try Stats(completed.stderr)
        #expect(stats.not_throttled && stats.download.verdict == "not_throttled")
        #expect(stats.download.program_calls == 0)
        #expect(try #require(stats.download.witness_bytes) >= SharingTests.bytes)
        #expect(stats.warnings.contains { $0.hasPrefix("download") })
    }
}
