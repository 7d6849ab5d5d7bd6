import Logging
import Programs
import Testing
import Units

@testable import throttle

@Suite struct OptionTests {
    @Test func `one limit and a command are enough`() throws {
        let run = try parse("-d", "50k", "true")
        let rates = try run.limits.rates()
        #expect(rates.down == .bytesPerSecond(50_000))
        #expect(rates.up == .unlimited)
        #expect(run.limits.burst == TimeSpan(nanoseconds: 200_000_000))
        #expect(run.limits.count == .payload)
        #expect(run.limits.quota == nil && run.limits.killAfter == nil)
        #expect(run.slow.profile == nil && !run.slow.network.isGiven)
        #expect(run.setup.mode == .auto)
        #expect(run.setup.linger == .keep)
        #expect(run.setup.attach == .auto)
        #expect(run.setup.cgroupParent == nil)
        #expect(run.setup.name == nil)
        #expect(run.setup.user == nil)
        #expect(!run.setup.systemd)
        #expect(!run.setup.bestEffort)
        #expect(run.reporting.stats == nil)
        #expect(run.reporting.statsFile == nil)
        #expect(run.reporting.logLevel == .warning)
        #expect(run.command == ["true"])
    }

    @Test func `every option has its effect`() throws {
        let run = try parse(
            "--down", "1M", "--up", "20k", "--burst", "1s", "--count", "wire", "--mode", "police", "--linger", "wait",
            "--attach", "legacy",
            "--cgroup-parent", "/cg", "--name", "job.1", "--user", "alice", "--systemd", "--best-effort",
            "--stats=json", "--stats-file", "/f", "--verbose", "--debug", "true")
        let rates = try run.limits.rates()
        #expect(rates.down == .bytesPerSecond(1_000_000))
        #expect(rates.up == .bytesPerSecond(20_000))
        #expect(run.limits.burst.seconds == 1)
        #expect(run.limits.count == .wire)
        #expect(run.setup.mode == .police)
        #expect(run.setup.linger == .wait)
        #expect(run.setup.attach == .legacy)
        #expect(run.setup.cgroupParent == "/cg")
        #expect(run.setup.name == "job.1")
        #expect(run.setup.user == "alice")
        #expect(run.setup.systemd)
        #expect(run.setup.bestEffort)
        #expect(run.reporting.stats == .json)
        #expect(run.reporting.statsFile == "/f")
        #expect(run.reporting.verbose)
        #expect(run.reporting.debug)
    }

    @Test(arguments: [["-d", "50k"], ["-d50k"], ["--down", "50k"], ["--down=50k"], ["-d", "1", "-d", "50k"]])
    func `a value may be joined to its option`(words: [String]) throws {
        #expect(try parse(words + ["true"]).limits.rates().down == .bytesPerSecond(50_000))
        let up = words.map { $0.replacing("-d", with: "-u").replacing("--uown", with: "--up") }
        #expect(try parse(up + ["true"]).limits.rates().up == .bytesPerSecond(50_000))
    }

    @Test(arguments: [
        (["ls", "-l"], ["ls", "-l"]),
        (["ls", "-d", "5", "--stats", "--", "x"], ["ls", "-d", "5", "--stats", "--", "x"]),
        (["--", "ls", "-l"], ["--", "ls", "-l"]), (["--", "-x", "--down"], ["--", "-x", "--down"]),
        (["--", "--", "a"], ["--", "--", "a"]), (["run", "run"], ["run", "run"]), (["./help"], ["./help"]),
        (["-v", "sh", "-c", "a b"], ["sh", "-c", "a b"]), (["ls", ""], ["ls", ""]), (["é", "\u{1}"], ["é", "\u{1}"]),
    ])
    func `the command starts at the first word that is no option, or after two dashes`(
        words: [String], command: [String]
    ) throws {
        #expect(try parse(["-d", "50k"] + words).command == command)
    }

    @Test(arguments: [["-d", "50k"], ["-d", "50k", "--"], []])
    func `a command is needed`(words: [String]) {
        let error = #expect(throws: (any Error).self) { try parse(words) }
        #expect(error.map { Throttle.fullMessage(for: $0) }?.contains("No command to run") == true)
    }

    @Test(arguments: ["-x", "--foo", "--foo=1", "--downs", "-D", "--stat=json", "-50k"])
    func `an unknown option is named`(word: String) {
        #expect(refusal("-d", "50k", word, "true")?.contains("Unknown option '\(word)'") == true)
        #expect(refusal(word, "-d", "50k", "true")?.contains("Unknown option '\(word)'") == true)
    }

    @Test(arguments: [
        ("--down", "50x"), ("--down", "0"), ("--down", ""), ("-u", "inf"), ("--up", "99999999T"), ("--down", "50 k"),
        ("--up", "-1"), ("-d", "-0.5k"), ("--burst", "5"), ("--burst", "-1s"),
    ])
    func `a quantity is refused with what was read`(option: String, value: String) {
        #expect(refusal(option, value, "true")?.contains("'\(value)' is ") == true)
    }

    @Test func `a slow network needs no rate`() throws {
        let run = try parse("--rtt", "100ms", "--jitter=10ms", "--loss", "1", "true")
        #expect(try run.slow.network.impairment(beside: .none).description == "rtt +100ms, jitter 10ms, loss 1%")
        #expect(run.command == ["true"])
        for words in [["--rtt", "0s"], ["--loss", "0%"], ["--rtt", "10s", "--jitter", "10s"], ["--profile", "3g"]] {
            _ = try parse(words + ["true"])
        }
    }

    @Test(arguments: [
        (["--rtt", "10.001s"], "--rtt is 10s at most"), (["--rtt", "5"], "'5' is not a time"),
        (["--rtt", "-5ms"], "'-5ms' is not a time"), (["--loss", "-1%"], "'-1%' is not a percentage"),
        (["--loss", "100.1%"], "'100.1%' is not a percentage"),
        (["--jitter", "1ms"], "--jitter is at most as long as --rtt, which is 0ms"),
        (["--rtt", "10ms", "--jitter", "10.1ms"], "--jitter is at most as long as --rtt, which is 10ms"),
        (["--profile", "dial", "--jitter", "61ms"], "--jitter is at most as long as --rtt, which is 60ms"),
        (["--rtt", "1ms", "--mode", "police"], "which --mode police doesn't touch"),
        (["--loss", "1%", "--mode", "police"], "which --mode police doesn't touch"),
        (["--profile", "3g", "--mode", "police"], "which --mode police doesn't touch"),
        (["--profile", ""], "'' is no profile: there are"),
    ])
    func `a network that can't be is refused`(words: [String], reason: String) {
        do {
            _ = try parse(words + ["true"])
            Issue.record("accepted")
        } catch {
            #expect(Throttle.fullMessage(for: error).contains(reason))
        }
    }

    @Test func `a quota needs no rate`() throws {
        let run = try parse("--quota", "1.5GB", "--kill-after", "10s", "true")
        #expect(run.limits.quota == 1_500_000_000 && run.limits.killAfter == TimeSpan(nanoseconds: 10_000_000_000))
        #expect(try parse("--quota=200MiB", "true").limits.killAfter == nil)
    }

    @Test(arguments: [
        (["--quota", "0", "true"], "'0' is no amount of data"),
        (["--quota", "-1", "true"], "'-1' is no amount of data"),
        (["--quota", "50k/s", "true"], "'50k/s' is no amount of data"),
        (["--quota", "1M", "--kill-after", "5", "true"], "'5' is not a time"),
        (["-d", "1M", "--kill-after", "5s", "true"], "--kill-after goes with --quota."),
        (["--quota", "1M", "-p", "1"], "--quota goes with a command, not with what runs already."),
        (["--quota", "1M", "--cgroup", "/x"], "--quota goes with a command, not with what runs already."),
        (["--quota", "1M", "--unit", "x"], "--quota goes with a command, not with what runs already."),
    ])
    func `a quota that can't be is refused`(words: [String], reason: String) {
        do {
            _ = try parse(words)
            Issue.record("accepted")
        } catch {
            #expect(Throttle.fullMessage(for: error).contains(reason))
        }
    }

    @Test(arguments: [
        (["1", "--rtt", "100ms"], nil), (["1", "--loss", "0%"], nil), (["1", "-d", "1M", "--jitter", "1ms"], nil),
        (["1"], "Nothing to set. Use --down RATE, --up RATE, --rtt TIME and the like."),
        (["-g", "build", "--rtt", "1ms"], "--rtt, --jitter, --loss and --background are a run's own, not a group's."),
        (["1", "--loss", "x"], "'x' is not a percentage"),
        (["1", "--background"], nil), (["1", "-d", "1M", "--no-background"], nil),
        (["-g", "build", "--background"], "--background are a run's own, not a group's."),
        (["-g", "build", "-d", "1M", "--no-background"], "--background are a run's own, not a group's."),
    ])
    func `set takes what is a run's own, and not a group's`(words: [String], reason: String?) {
        do {
            _ = try Throttle.parseAsRoot(["set"] + words)
            #expect(reason == nil)
        } catch {
            #expect(Throttle.fullMessage(for: error).contains(reason ?? "nothing"))
        }
    }

    @Test func `a run in the background needs no rate, and has one as its most`() throws {
        let run = try parse("--background", "true")
        #expect(try run.limits.background && run.limits.rates(isEnough: true) == .unlimited)
        #expect(try parse("--background", "-p", "1").limits.background)
        #expect(try parse("--background", "-d", "1M", "true").limits.down == .bytesPerSecond(1_000_000))
        #expect(try !parse("-d", "1M", "true").limits.background)
    }

    @Test(arguments: [
        (["--background", "--mode", "police"], "--background takes queues at devices, which --mode police"),
        (["-d", "1M", "--mode=police", "--background"], "--background takes queues at devices, which --mode police"),
        (["--background=yes"], "--background"), (["--no-background"], "--no-background"),
    ])
    func `a background that can't be is refused`(words: [String], reason: String) {
        do {
            _ = try parse(words + ["true"])
            Issue.record("accepted")
        } catch {
            #expect(Throttle.fullMessage(for: error).contains(reason))
        }
    }

    @Test(arguments: ["1ms", "0.001s", "1000us", "200ms", "60s", "60000ms"])
    func `a burst is a millisecond to a minute`(burst: String) throws {
        #expect(try parse("-d", "50k", "--burst", burst, "true").limits.burst == TimeSpan(burst))
    }

    @Test(arguments: ["0ms", "999us", "0.9999ms", "61s", "60.000000001s", "3600s"])
    func `a burst out of range is refused`(burst: String) {
        #expect(refusal("-d", "50k", "--burst", burst, "true")?.contains("'\(burst)' is out of range") == true)
    }

    @Test(arguments: Mode.allCases)
    func `a mode is taken by its name`(mode: Mode) throws {
        #expect(try parse("-d", "50k", "--mode", "\(mode)", "true").setup.mode == mode)
    }

    @Test(arguments: [
        ("--mode", "pace"), ("--mode", "Police"), ("--count", "frames"), ("--attach", "multi"), ("--linger", "Keep"),
        ("--stats", "xml"),
        ("--stats", ""),
    ])
    func `a word of another list is refused`(option: String, value: String) {
        #expect(refusal("-d", "50k", "\(option)=\(value)", "true") != nil)
    }

    @Test func `names are of letters, digits, dots, underscores and hyphens`() throws {
        for character in "azAZ09._-" {
            #expect(try parse("-d", "1", "--name=\(character)", "true").setup.name == "\(character)")
        }
        for character in "@[`{/:!~ \u{1}\t\u{7f}+,é" {
            #expect(refusal("-d", "1", "--name=a\(character)", "true")?.contains("is not a name") == true)
        }
        #expect(try parse("-d", "1", "--name", String(repeating: "a", count: 64), "true").setup.name?.count == 64)
        for name in [String(repeating: "a", count: 65), "", "é", "a b", "../x"] {
            #expect(refusal("-d", "50k", "--name=\(name)", "true") != nil, "\(name)")
        }
    }

    @Test(
        arguments: [
            ([], .warning), (["-v"], .info), (["--verbose"], .info), (["--debug"], .debug),
            (["-v", "--debug"], .debug),
            (["-q"], .error), (["--quiet"], .error), (["--stats=text"], .warning),
        ] as [([String], Logger.Level)])
    func `the log is as loud as asked for`(words: [String], level: Logger.Level) throws {
        #expect(try parse(["-d", "50k"] + words + ["true"]).reporting.logLevel == level)
    }

    @Test(arguments: [["-q", "-v"], ["--debug", "--quiet"], ["-qv"]])
    func `quiet and loud exclude each other`(words: [String]) {
        #expect(throws: (any Error).self) { try parse(["-d", "50k"] + words + ["true"]) }
    }
}
