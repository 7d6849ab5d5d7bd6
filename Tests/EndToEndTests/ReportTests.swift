import Foundation
import Testing

/// What a run says about itself, and where.
@Suite struct ReportTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    @Test func `JSON report is one object on standard error`() throws {
        let completed = try lab.run(
            throttle("-d", "50k", "-u", "1M", "--stats=json") + ["sh", "-c", "echo out; exit 9"])
        #expect(completed.ending == .exited(9))
        #expect(completed.stdout == "out\n")
        #expect(completed.stderr.hasSuffix("}\n"))
        let stats = try Stats(completed.stderr)
        #expect(stats.schema == 1 && stats.exit_status == 9 && stats.exit_signal == nil && stats.exec_errno == nil)
        #expect(stats.command == ["sh", "-c", "echo out; exit 9"] && stats.name == "sh")
        #expect(stats.download.limit_bytes_per_second == 50_000 && stats.upload.limit_bytes_per_second == 1_000_000)
        #expect(stats.download.verdict == "below_limit" && !stats.not_throttled && stats.warnings == [])
    }

    @Test func `JSON report says how the command ended`() throws {
        let killed = try lab.run(throttle("-d", "50k", "--stats=json") + ["sh", "-c", "kill -USR1 $$"])
        #expect(try Stats(killed.stderr).exit_signal == Int(SIGUSR1))
        #expect(killed.ending == .killed(SIGUSR1))
        let missing = try lab.run(
            throttle("-d", "50k", "--stats=json", "--stats-file", "stats") + ["no-such-command-here"])
        #expect(try lab.stats().exec_errno == Int(ENOENT))
        #expect(missing.ending == .exited(127))
    }

    @Test func `elapsed time is reported with and without limits`() throws {
        let limited = try lab.run(throttle("-d", "50k", "--stats=json") + ["sleep", "0.2"])
        #expect((0.2..<5).contains(try Stats(limited.stderr).elapsed_seconds))
        let options = throttle(
            "-d", "50k", "--stats=json", "--stats-file", "stats", "--cgroup-parent", "/tmp", "--best-effort")
        let unlimited = try lab.run(options + ["sleep", "0.2"])
        #expect(unlimited.stderr.hasPrefix("throttle: NOT THROTTLED: running without limits, as "))
        #expect((0.2..<5).contains(try lab.stats().elapsed_seconds))
    }

    @Test func `stats file takes the report instead of standard error`() throws {
        try lab.write(String(repeating: "old content ", count: 1000), to: "stats")
        let json = try lab.run(
            throttle("-d", "50k", "--stats=json", "--stats-file", "stats", "--name", "a.b-c") + ["true"])
        #expect(json.stdout == "" && json.stderr == "")
        #expect(try lab.stats().name == "a.b-c")
        let text = try lab.run(throttle("-d", "50k", "--stats-file", "text") + ["true"])
        #expect(text.stdout == "" && text.stderr == "")
        #expect(try String(decoding: lab.content("text"), as: UTF8.self).contains("of 50.0 kB/s"))
    }

    @Test func `bare stats reports in text`() throws {
        let completed = try lab.run(throttle("-d", "50k", "--stats") + ["true"])
        let lines = completed.stderr.split(separator: "\n")
        #expect(lines.allSatisfy { $0.hasPrefix("throttle: ") })
        #expect(lines.contains { $0.contains("download: ") && $0.contains("below the limit") })
        #expect(lines.contains { $0.contains("upload: ") && $0.contains("no limit") })
    }

    @Test func `verbose and debug speak on standard error only`() throws {
        for option in ["-v", "--verbose", "--debug"] {
            let completed = try lab.run(throttle("-d", "50k", option) + ["echo", "out"])
            #expect(completed.stdout == "out\n")
            #expect(completed.stderr != "")
            #expect(completed.stderr.split(separator: "\n").allSatisfy { $0.hasPrefix("throttle: ") })
        }
    }

    @Test(arguments: ["link", "legacy"])
    func `debug logs each attachment and its detachment`(_ method: String) throws {
        let completed = try lab.run(throttle("-d", "50k", "--attach", method, "--debug") + ["true"])
        let lines = completed.stderr.split(separator: "\n").map(String.init)
        let run = try #require(lines.firstMatch(of: "created cgroup ")).suffix(after: "created cgroup ")
        let parent = String(run.dropLast("/run".count))
        #expect(lines.contains { $0.contains("kernel ") })
        let hooks = [
            ("throttle_down", run, "cgroup_inet_ingress"), ("throttle_up", run, "cgroup_inet_egress"),
            ("throttle_wit_dn", parent, "cgroup_inet_ingress"), ("throttle_wit_up", parent, "cgroup_inet_egress"),
        ]
        for (program, cgroup, type) in hooks {
            let attached = lines.filter { $0.contains("attached \(program),") }
            #expect(attached.count == 1)
            for part in ["cgroup \(cgroup),", type, "multi (BPF_F_ALLOW_MULTI)", method] {
                #expect(attached.first?.contains(part) == true, "\(program): \(part)")
            }
            #expect(lines.count { $0.contains("detached \(program) ") } == 1)
        }
        #expect(!completed.stderr.contains("can't"))
    }

    @Test func `version and help go to standard output`() throws {
        for option in ["--version", "--help"] {
            let completed = try lab.run([throttlePath, option])
            #expect(completed.ending == .exited(0) && completed.stdout != "" && completed.stderr == "")
        }
    }

    @Test func `closed standard error does not hurt the run`() throws {
        let script = #""$@" 2>&-"#
        let words = throttle("-d", "50k", "--debug", "--stats=json") + ["sh", "-c", "echo out; exit 5"]
        let completed = try lab.shell(script, words)
        #expect(completed.ending == .exited(5) && completed.stdout == "out\n" && completed.stderr == "")
    }

    @Test func `full standard error does not hurt the run`() throws {
        let words = throttle("-d", "50k", "--debug", "--stats=json") + ["sh", "-c", "echo out; exit 5"]
        let completed = try lab.shell(#""$@" 2>/dev/full"#, words)
        #expect(completed.ending == .exited(5) && completed.stdout == "out\n")
    }

    @Test func `standard error that nobody reads does not hurt the command`() throws {
        let words = throttle("-d", "50k", "--debug", "--stats=json") + ["sh", "-c", "exit 5"]
        // The reader is gone before the run starts, so each line of the wrapper's raises SIGPIPE.
        let script = #"{ sleep 0.2; "$@"; echo $? >status; } 2>&1 | true"#
        #expect(try lab.shell(script, words).ending == .exited(0))
        #expect(try String(decoding: lab.content("status"), as: UTF8.self) == "5\n")
        #expect(lab.cgroup.runs == [])
    }
}

extension [String] {
    fileprivate func firstMatch(of part: String) -> String? { first { $0.contains(part) } }
}

extension String {
    fileprivate func suffix(after part: String) -> String {
        range(of: part).map { String(self[$0.upperBound...]) } ?? self
    }
}
