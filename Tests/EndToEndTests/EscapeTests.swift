import Foundation
import Testing

/// What a command can do to get out of its limit, and what it can't: SECURITY.md names these tests.
@Suite struct EscapeTests {
    let lab: Lab
    private static let bytes = 400_000

    init() throws {
        lab = try Lab()
    }

    private static let ordinaryUser = ["--user", "65534:65534"]

    /// A script that moves its shell to each of the cgroups and tells which take it.
    private func moves(to cgroups: [String]) -> [String] {
        let script =
            #"for to; do (echo 0 >"$to/cgroup.procs") 2>/dev/null && echo "$to"; done; grep ^0:: /proc/self/cgroup"#
        return ["sh", "-c", script, "sh"] + cgroups
    }

    @Test func `ordinary user can't leave a run that root started nor end it`() throws {
        let words = [throttlePath, "-d", "50k"] + EscapeTests.ordinaryUser + ["--"]
        let script = #"""
            for pid in $(cat "$1/cgroup.procs"); do kill -9 $pid 2>/dev/null && echo killed; done
            set -- "$1"/throttle-* "$1" "$2"
            """#
        let attempts = ["sh", "-c", script + "\n" + moves(to: [])[2], "sh", lab.cgroup.path, lab.helpers.path]
        let completed = try lab.run(words + attempts)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        let lines = completed.stdout.split(separator: "\n")
        #expect(lines.count == 1 && lines[0].contains(/\/throttle-\d+\/run$/))
    }

    @Test func `user of a delegated cgroup can move up in it but not out of it`() throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let words = Lab.nobody + [binary, "-d", "50k", "--stats=json", "--"]
        let outside = try lab.run(words + moves(to: [lab.helpers.path]))
        #expect(outside.stdout.contains("/run\n") && !outside.stdout.contains(lab.helpers.path))
        let script = #"echo 0 >"$0/cgroup.procs" && exec grep ^0:: /proc/self/cgroup"#
        let moved = try lab.run(words + ["sh", "-c", script, lab.cgroup.path])
        #expect(moved.ending == .exited(0) && moved.stdout.hasSuffix("/commands\n"))
        let stats = try Stats(moved.stderr)
        #expect(stats.not_throttled && stats.warnings.contains { $0.contains("left the run's cgroup") })
        #expect(poll { lab.cgroup.runs == [] })
    }

    @Test func `user who kills their own wrapper and its guard is free`() throws {
        let network = try NetworkPair(lab)
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        try lab.require(["install", "-d", "-m", "700", "-o", "65534", "own"])
        let server = try FileServer(in: network.far, lab, bytes: EscapeTests.bytes)
        let script = #"""
            for pid in $(cat "$0/cgroup.procs"); do kill -9 $pid; done
            sleep 0.2; curl -sS -o own/copy "$1"; touch own/done
            """#
        let words = [binary, "-d", "20k", "--", "sh", "-c", script, lab.cgroup.path]
        let child = try lab.start(
            network.near.entry + Lab.nobody + words + [server.url(NetworkPair.farAddress)],
            environment: ["XDG_RUNTIME_DIR": "\(lab.folder)/own"])
        #expect(try child.wait().ending == .killed(SIGKILL))
        #expect(poll(timeout: .seconds(8)) { access("\(lab.folder)/own/done", F_OK) == 0 })
        #expect(try lab.content("own/copy") == server.content)
    }

    @Test func `many short processes stay inside`() throws {
        let script = #"for i in $(seq 200); do (setsid grep ^0:: /proc/self/cgroup &); done; exit 4"#
        let words = throttle("-d", "50k", "--linger", "wait") + ["sh", "-c", script]
        let completed = try lab.run(words)
        #expect(completed.ending == .exited(4))
        let lines = completed.stdout.split(separator: "\n")
        #expect(lines.count == 200 && Set(lines).count == 1)
        #expect(lines.first?.contains(/\/commands\/throttle-\d+\/run$/) == true)
        #expect(lab.cgroup.children == [])
    }

    /// Starts a command that gets a connection from outside, and checks that nothing limited it.
    private func expectUnlimited(_ words: [String], in network: NetworkPair) throws -> Completed {
        let options = throttle("-d", "50k", "-v", "--stats=json", "--stats-file", "stats")
        let completed = try lab.run(network.near.entry + words.flatMap { $0 == "throttle" ? options : [$0] })
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let count = completed.stdout.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }.first ?? 0
        #expect(count > EscapeTests.bytes)
        #expect(completed.seconds < Double(EscapeTests.bytes) / 50_000 / 2)
        let stats = try lab.stats()
        #expect(stats.download.passed_payload_bytes == 0 && stats.download.verdict == "below_limit")
        return completed
    }

    @Test func `inherited socket is not limited and is named`() throws {
        let network = try NetworkPair(lab)
        _ = try withServer(in: network) {
            let script = #"exec 5<>"/dev/tcp/$0/8077"; printf 'GET /file HTTP/1.0\r\n\r\n' >&5; exec "$@""#
            let words =
                ["bash", "-c", script, NetworkPair.farAddress, "throttle"] + ["sh", "-c", "cat <&5 | wc -c"]
            let completed = try expectUnlimited(words, in: network)
            #expect(
                completed.stderr.contains("descriptor 5 is a socket made outside the run: its traffic is not limited"))
        }
    }

    @Test func `socket that is handed in is not limited`() throws {
        let network = try NetworkPair(lab)
        _ = try withServer(in: network) {
            let fixture = ["/usr/bin/python3", Fixtures.script("hand_over.py")]
            let giver = try lab.start(
                network.near.entry + fixture + ["give", "\(lab.folder)/line", NetworkPair.farAddress, "8077"],
                in: lab.helpers)
            try giver.waitForOutput("ready")
            _ = try expectUnlimited(["throttle"] + fixture + ["take", "\(lab.folder)/line"], in: network)
        }
    }

    private func withServer(in network: NetworkPair, _ body: () throws -> Void) throws {
        let server = try FileServer(in: network.far, lab, bytes: EscapeTests.bytes)
        try body()
        _ = server.content
    }

    /// Its loopback has no queue; police and the windows hold the limit there.
    @Test func `network namespace that the command makes is limited`() throws {
        try lab.write(String(repeating: "x", count: EscapeTests.bytes), to: "file")
        let script = """
            ip link set lo up; python3 -m http.server --bind 127.0.0.1 8078 >/dev/null 2>&1 & server=$!
            curl -sSf --retry-connrefused --retry 50 --retry-delay 0 --retry-max-time 20 -o copy 127.0.0.1:8078/file
            status=$?; kill $server; exit $status
            """
        let words = throttle("-d", "100k", "--stats=json", "--stats-file", "stats") + ["unshare", "-n"]
        let completed = try lab.run(words + ["sh", "-c", script])
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        #expect(try lab.content("copy").count == EscapeTests.bytes)
        let stats = try lab.stats()
        #expect(stats.download.verdict == "throttled" && !stats.not_throttled)
        #expect(try #require(stats.download.achieved_ratio) < 1.3)
        // Both ends are the run's.
        #expect(stats.download.passed_payload_bytes >= EscapeTests.bytes)
        #expect(stats.upload.passed_payload_bytes >= EscapeTests.bytes)
        #expect(completed.seconds > 2.5)
    }

    /// The kernel keeps what has more capabilities than we from us (ptrace(2)).
    @Test func `capable wrapper and its guard are closed to their own user`() throws {
        try lab.delegate()
        let binary = try lab.copyOfBinary(capabilities: Lab.limiting)
        let words = [binary, "-d", "50k", "--", "sh", "-c", "echo ready; read x"]
        let child = try lab.start(Lab.nobody + words, input: .pipe)
        try child.waitForOutput("ready")
        let pids = lab.cgroup.processes
        #expect(pids.count == 2)
        for pid in pids {
            for file in ["fd/0", "mem", "environ"] {
                let look = try lab.run(Lab.nobody + ["head", "-c", "1", "/proc/\(pid)/\(file)"])
                #expect(look.stderr.contains("Permission denied"), "\(file)")
            }
        }
        child.closeInput()
        #expect(try child.wait().ending == .exited(1))
    }

    /// Sends 200 packets of 1000 bytes over loopback by a socket of that kind, with 20 kB/s to use.
    private func upload(_ kind: String, _ send: String) throws -> Stats {
        let namespace = try Namespace(lab)
        let script = """
            import socket, time
            sender = socket.socket(\(kind))
            for i in range(200):
                \(send)
                time.sleep(0.002)
            """
        let words = throttle("-u", "20k", "--stats=json") + ["/usr/bin/python3", "-c", script]
        let completed = try lab.run(namespace.entry + words)
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        return try Stats(completed.stderr)
    }

    @Test func `raw socket is limited`() throws {
        let stats = try upload(
            "socket.AF_INET, socket.SOCK_RAW, 253", "sender.sendto(bytes(1000), ('127.0.0.1', 0))")
        #expect(stats.upload.program_calls == 200 && stats.upload.dropped_packets > 100)
        #expect(stats.upload.verdict == "throttled")
    }

    /// Nor is it seen.
    @Test func `packet socket is not limited`() throws {
        let kind = "socket.AF_PACKET, socket.SOCK_DGRAM"
        let stats = try upload(kind, "sender.sendto(bytes(1000), ('lo', 0x88b5, 0, 0, bytes(6)))")
        #expect(stats.upload.program_calls == 0 && stats.upload.witness_packets == 0)
    }

    @Test func `multipath connection is limited`() throws {
        let namespace = try Namespace(lab)
        let script = """
            import socket, threading
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
            listener.bind(("127.0.0.1", 8079))
            listener.listen()
            sender = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
            sender.connect(("127.0.0.1", 8079))
            taker = listener.accept()[0]
            threading.Thread(target=lambda: (sender.sendall(bytes(300000)), sender.close())).start()
            while taker.recv(65536): pass
            """
        let words = throttle("-d", "100k", "--stats=json") + ["/usr/bin/python3", "-c", script]
        let completed = try lab.run(namespace.entry + words)
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let stats = try Stats(completed.stderr)
        #expect(stats.download.passed_payload_bytes >= 300_000 && completed.seconds > 1.8)
        #expect(try #require(stats.download.achieved_ratio) < 1.3)
    }

    /// As any user of the network namespace could have bound it.
    @Test func `abstract socket that somebody took costs only a name`() throws {
        let namespace = try Namespace(lab)
        let script = #"""
            import os, socket, sys
            squatter = socket.socket(socket.AF_UNIX)
            squatter.bind("\0throttle/thr-%d" % os.getpid())
            squatter.set_inheritable(True)
            os.execv(sys.argv[1], sys.argv[1:])
            """#
        let words = ["/usr/bin/python3", "-c", script] + throttle("-d", "50k", "--mode", "shape", "--debug") + ["true"]
        let child = try lab.start(namespace.entry + words)
        let completed = try child.wait()
        #expect(completed.ending == .exited(0))
        #expect(completed.stderr.contains("created device thr-\(child.pid)-2 "))
    }
}
