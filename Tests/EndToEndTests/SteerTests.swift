import Foundation
import Testing

/// `throttle list`, `stats` and `set`.
@Suite struct SteerTests {
    let lab: Lab
    let network: NetworkPair

    init() throws {
        lab = try Lab()
        network = try NetworkPair(lab)
    }

    private struct List: Decodable {
        struct Run: Decodable {
            struct Direction: Decodable {
                let limit_bytes_per_second: UInt64?
                let bytes_per_second: Double?
                let total_bytes: UInt64?
            }

            let id: String
            let name: String
            let pid: Int
            let command: [String]
            let planes: [String]
            let download: Direction
            let upload: Direction
        }

        let runs: [Run]
    }

    /// The run of this id, as it is listed.
    private func listed(_ id: String) throws -> List.Run? {
        let text = try lab.require([throttlePath, "list", "--json"])
        return try JSONDecoder().decode(List.self, from: Data(text.utf8)).runs.first { $0.id == id }
    }

    private func stats(_ id: String) throws -> Stats { try Stats(lab.require([throttlePath, "stats", id, "--json"])) }

    /// Bytes a second that pass from now on.
    private func rate(_ id: String, _ direction: KeyPath<Stats, Stats.Traffic>) throws -> Double {
        let before = try stats(id)
        usleep(1_500_000)
        let after = try stats(id)
        let bytes = after[keyPath: direction].passed_payload_bytes - before[keyPath: direction].passed_payload_bytes
        return Double(bytes) / (after.elapsed_seconds - before.elapsed_seconds)
    }

    private func set(_ id: String, _ options: String...) throws {
        try lab.require([throttlePath, "set", id] + options)
        // What was sent at the old rate has 200 ms to pass.
        usleep(200_000)
    }

    @Test(arguments: ["auto", "police"])
    func `limits of a download follow what is set`(_ mode: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 20_000_000)
        let words = throttle("-d", "300k", "--mode", mode, "--name", "steered-\(mode)", "--stats=json")
        let fetching = ["curl", "-sSf", "-o", "/dev/null", server.url(NetworkPair.farAddress)]
        let child = try lab.start(network.near.entry + words + fetching)
        let id = "\(child.pid)"
        #expect(poll { ((try? stats(id))?.download.passed_payload_bytes ?? 0) > 200_000 })
        #expect(try 0.7...1.25 ~= rate(id, \.download) / 300_000)
        for limit in [1_500_000, 100_000, 800_000] {
            try set("steered-\(mode)", "--down", "\(limit)")
            #expect(try 0.7...1.3 ~= rate(id, \.download) / Double(limit), "\(limit)")
            #expect(try listed(id)?.download.limit_bytes_per_second == UInt64(limit))
        }
        try set(id, "-d", "unlimited", "-u", "1M")
        let completed = try child.wait()
        let report = try Stats(completed.stderr)
        #expect(completed.ending == .exited(0) && report.download.limit_bytes_per_second == nil)
        #expect(report.upload.limit_bytes_per_second == 1_000_000 && report.planes == ["pace", "police"])
        #expect(try listed(id) == nil)
    }

    /// Over loopback, so the transfer that goes on is at once a thousand times as fast.
    @Test(arguments: [["--up"], ["--down", "-R"]])
    func `run whose limit is lifted goes on at full speed`(_ way: [String]) throws {
        let server = try Iperf3.server(in: network.near, lab)
        let words = throttle(way[0], "500k", "--name", "lifted\(way[0])")
        let client = ["iperf3", "-c", "127.0.0.1", "-J", "-t", "4"] + way.dropFirst()
        let child = try lab.start(network.near.entry + words + client)
        usleep(1_500_000)
        try set("lifted\(way[0])", way[0], "unlimited")
        let completed = try child.wait()
        #expect(completed.ending == .exited(0))
        #expect(try Iperf3.Result(completed.stdout).bytesPerSecond > 20 * 500_000)
        _ = try server.wait()
    }

    @Test(arguments: ["auto", "police"])
    func `run without a limit can be given one`(_ mode: String) throws {
        let server = try FileServer(in: network.far, lab, bytes: 1_000_000)
        let url = server.url(NetworkPair.farAddress)
        let script = #"echo ready; read x; curl -sSf -o copy "$0"; curl -sSf -T copy "$1""#
        let words = throttle("-d", "unlimited", "--mode", mode, "--stats=json") + ["sh", "-c", script, url]
        let target = server.url(NetworkPair.farAddress, "uploaded/copy")
        let child = try lab.start(network.near.entry + words + [target], input: .pipe)
        try child.waitForOutput("ready")
        try set("\(child.pid)", "-d", "500k", "-u", "400k")
        child.closeInput()
        let completed = try child.wait()
        let report = try Stats(completed.stderr)
        #expect(completed.ending == .exited(0) && 3.8...7 ~= completed.seconds)
        #expect(try server.uploaded("copy") == server.content)
        #expect(
            report.planes == (mode == "auto" ? ["pace", "police", "shape", "window"] : ["pace", "police", "window"]))
    }

    @Test func `list names live runs and their limits`() throws {
        let words =
            throttle("-d", "50k", "-u", "1M", "--name", "listed") + ["sh", "-c", "echo ready; read x; exit 0", "a b"]
        let child = try lab.start(network.near.entry + words, input: .pipe)
        try child.waitForOutput("ready")
        let id = "\(child.pid)"
        let run = try #require(poll { (try? listed(id)) != nil } ? listed(id) : nil)
        #expect(run.name == "listed" && run.pid == Int(child.pid) && run.command.last == "a b")
        #expect(run.download.limit_bytes_per_second == 50_000 && run.upload.limit_bytes_per_second == 1_000_000)
        for command in ["list", "ps"] {
            let table = try lab.require([throttlePath, command])
            #expect(table.hasPrefix("ID ") && table.contains("0.0 of 50.0 kB/s"), "\(table)")
        }
        for name in [id, "listed"] {
            #expect(try lab.require([throttlePath, "stats", name]).contains("download: 0 B/s of 50.0 kB/s"))
        }
        child.closeInput()
        #expect(try child.wait().ending == .exited(0))
        #expect(try listed(id) == nil)
    }

    @Test func `kept run is steered through its guard`() throws {
        let child = try lab.start(
            throttle("-d", "50k") + ["sh", "-c", "exec 3<&0; { echo ready; read x <&3; } &"], input: .pipe)
        #expect(try child.wait().ending == .exited(0))
        try set("\(child.pid)", "-d", "2M")
        #expect(try stats("\(child.pid)").download.limit_bytes_per_second == 2_000_000)
        child.closeInput()
        #expect(poll { (try? lab.require([throttlePath, "list"]).contains("\(child.pid)")) == false })
    }

    @Test func `run without its guard is listed but does not answer`() throws {
        let child = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try child.waitForOutput("ready")
        #expect(poll { (try? stats("\(child.pid)")) != nil })
        for pid in lab.cgroup.processes where pid != child.pid { kill(pid, SIGKILL) }
        #expect(poll { (try? lab.require([throttlePath, "list"]).contains("sh -c")) == true })
        let run = try #require(try listed("\(child.pid)"))
        #expect(run.planes == [] && run.download.bytes_per_second == nil)
        #expect(run.download.limit_bytes_per_second == 50_000)
        let refused = try lab.run([throttlePath, "set", "\(child.pid)", "-d", "1M"])
        // Nobody is waited for.
        #expect(refused.ending == .exited(125) && refused.seconds < 2, "\(refused.seconds)")
        child.closeInput()
        #expect(try child.wait().ending == .exited(0))
        #expect(try listed("\(child.pid)") == nil)
    }

    /// What is listed of it then is what its record says.
    @Test func `record has the limits that were set`() throws {
        let child = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try child.waitForOutput("ready")
        #expect(poll { (try? stats("\(child.pid)")) != nil })
        for (options, down, up) in [
            (["-d", "80k", "-u", "1M"], 80_000 as Int?, 1_000_000), (["-d", "unlimited"], nil, 1_000_000),
        ] {
            try lab.require([throttlePath, "set", "\(child.pid)"] + options)
            let record = try recorded("\(child.pid)")
            #expect(record["down"] as? Int == down && record["up"] as? Int == up, "\(record)")
        }
        try lab.require([throttlePath, "set", "\(child.pid)", "-d", "70k"])
        for pid in lab.cgroup.processes where pid != child.pid { kill(pid, SIGKILL) }
        #expect(poll { lab.cgroup.processes == [child.pid] })
        let run = try #require(try listed("\(child.pid)"))
        #expect(
            run.planes == [] && run.download.limit_bytes_per_second == 70_000
                && run.upload.limit_bytes_per_second == 1_000_000)
        child.closeInput()
        #expect(try child.wait().ending == .exited(0))
    }

    /// The record of this run.
    private func recorded(_ id: String) throws -> [String: Any] {
        let content = try Data(contentsOf: URL(fileURLWithPath: "/run/throttle/\(id)"))
        return try JSONSerialization.jsonObject(with: content) as? [String: Any] ?? [:]
    }

    /// The run hangs up on who connects and then says nothing for long, as happens on a busy machine; strace(1) is slow
    /// here. It would kill who writes then with SIGPIPE.
    @Test func `who asks too slowly asks again`() throws {
        let child = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try child.waitForOutput("ready")
        #expect(poll { (try? listed("\(child.pid)")) != nil })
        let delaying = ["-e", "trace=sendto", "-e", "inject=sendto:delay_enter=500000:when=1"]
        let trace = "\(lab.folder)/trace"
        let completed = try lab.run(
            ["strace", "-f", "-qq", "-o", trace] + delaying + [throttlePath, "stats", "\(child.pid)", "--json"])
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        #expect(try Stats(completed.stdout).download.limit_bytes_per_second == 50_000)
        #expect(try String(contentsOfFile: trace, encoding: .utf8).contains("EPIPE"))
        child.closeInput()
        #expect(try child.wait().ending == .exited(0))
    }

    /// A run answers one after the other.
    @Test(arguments: ["asks", "takes"])
    func `who is slow keeps nobody else waiting`(_ how: String) throws {
        // What a report tells of them is more than a socket's buffer takes.
        let words = (0..<8).map { _ in String(repeating: "x", count: 120_000) }
        let child = try lab.start(
            throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"] + words, input: .pipe)
        try child.waitForOutput("ready")
        #expect(poll { (try? stats("\(child.pid)")) != nil })
        let slow = try lab.start(
            ["python3", Fixtures.script("slow.py"), how, "/run/throttle/\(child.pid).socket"], in: lab.helpers)
        try slow.waitForOutput("ready")
        for _ in 0..<3 {
            let completed = try lab.run([throttlePath, "stats", "\(child.pid)"])
            #expect(completed.ending == .exited(0) && completed.seconds < 1, "\(completed.seconds) \(completed.stderr)")
        }
        slow.send(SIGKILL)
        child.closeInput()
        #expect(try child.wait().ending == .exited(0))
    }

    @Test func `other users reach no run of ours`() throws {
        let child = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try child.waitForOutput("ready")
        let nobody = Lab.nobody + [try lab.copyOfBinary()]
        #expect(try lab.run(nobody + ["list"]).stdout.split(separator: "\n").count == 1)
        for words in [["set", "\(child.pid)", "-d", "1M"], ["stats", "\(child.pid)"]] {
            let completed = try lab.run(nobody + words)
            #expect(completed.ending == .exited(125) && completed.stderr.contains("no run '\(child.pid)' lives here"))
        }
        child.closeInput()
        #expect(try child.wait().ending == .exited(0))
    }

    @Test func `command of another user can't raise its limit`() throws {
        let script = #"echo ready; read x; "$0" set "$PPID" -d 1G"#
        let words = throttle("-d", "50k", "--user", "65534:65534") + ["sh", "-c", script, try lab.copyOfBinary()]
        let child = try lab.start(words, input: .pipe)
        try child.waitForOutput("ready")
        #expect(poll { (try? listed("\(child.pid)")) != nil })
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(125) && completed.stderr.contains("lives here"), "\(completed.stderr)")
    }

    @Test(arguments: [
        [], ["-d"], ["-d", "fast"], ["-d", "0"], ["-d", "-1"], ["-d", "1M", "extra"], ["--mode", "shape", "-d", "1M"],
    ])
    func `bad settings change nothing`(_ options: [String]) throws {
        let child = try lab.start(throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 0"], input: .pipe)
        try child.waitForOutput("ready")
        #expect(poll { (try? stats("\(child.pid)")) != nil })
        let completed = try lab.run([throttlePath, "set", "\(child.pid)"] + options)
        #expect(completed.ending == .exited(125) && completed.stdout == "")
        #expect(completed.stderr.split(separator: "\n").count == 1 && completed.stderr.hasPrefix("throttle: "))
        #expect(try stats("\(child.pid)").download.limit_bytes_per_second == 50_000)
        child.closeInput()
    }
}
