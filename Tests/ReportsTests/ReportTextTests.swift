import Processes
import Programs
import SystemPackage
import TestSupport
import Testing
import Units

@testable import Reports

@Suite struct ReportTextTests {
    @Test func `a report tells people limit, achieved rate, ratio, verdict and counters`() {
        var report = makeReport(down: .bytesPerSecond(50_000))
        report.down.counters = Counters(passed: 98, dropped: 7, witness: 105, seconds: 2)
        report.up.counters = Counters(passed: 3, witness: 3, seconds: 2)
        report.end(.exited(8), after: 2_345_600_000)
        #expect(
            report.text == """
                wget: exited with status 8 after 2.35 s
                download: 49.0 kB/s of 50.0 kB/s (0.98x, throttled)
                  program calls 105, passed 98 packets, payload 98.0 kB, wire 104.5 kB, dropped 7 packets (6.7 %)
                  police
                upload: 1.3 kB/s, no limit
                  program calls 3, passed 3 packets, payload 3.0 kB, wire 3.2 kB, dropped 0 packets (0.0 %)
                """)
    }

    @Test func `a report tells what was exempt, and where that was all`() {
        var report = makeReport(down: .bytesPerSecond(50_000), up: .bytesPerSecond(50_000))
        report.down.counters = Counters(passed: 0, witness: 9, exempt: 9)
        report.up.counters = Counters(passed: 1, witness: 10, exempt: 9)
        report.end(.exited(0), after: 0)
        #expect(
            report.text.contains(
                """
                download: 0 B/s of 50.0 kB/s (0.00x, not limited, as all traffic was exempt)
                  program calls 9, passed 0 packets, payload 0 B, wire 0 B, dropped 0 packets (0.0 %), exempt 9 packets (9.5 kB)
                """))
        #expect(
            report.text.contains("upload: 1.0 kB/s of 50.0 kB/s (0.02x, below the limit)\n  program calls 10, passed 1")
        )
        #expect(report.warnings.isEmpty)
    }

    @Test func `a command's name can't forge a line`() {
        let lines = makeReport(name: "a\nupload: \u{1b}[2J").text.split(separator: "\n")
        #expect(lines.first == #"a\nupload: \u{1B}[2J: running after 0.00 s"#)
    }

    @Test func `a report tells what held each limit`() {
        var report = makeReport(down: .bytesPerSecond(50_000), up: .bytesPerSecond(50_000))
        report.planes = [.police, .pace, .shape, .window]
        report.planeCounters = makePlaneCounters()
        report.up.counters.deferredPackets = 9
        #expect(
            report.text.contains(
                "\n  shape: 4 packets dropped by the queue, delay 70 ms on average, 250 ms at most;"
                    + " window: 3 sockets clamped; police\n"))
        #expect(
            report.text.hasSuffix(
                "\n  pace: 2 sockets paced, 9 packets deferred, 1 segments sent again; police"))
        report.planes = [.police, .pace, .window]
        #expect(report.text.contains("\n  window: 3 sockets clamped; police\n"))
        report.planes = [.police]
        #expect(report.text.hasSuffix("\n  police"))
    }

    @Test func `a report tells of a slow network where there is one`() {
        var report = makeReport()
        #expect(!report.text.contains("network:"))
        report.impairment = Impairment(rtt: 0.15, jitter: 0.01, loss: 0.005)
        (report.down.counters.lostPackets, report.up.counters.lostPackets) = (3, 4)
        #expect(
            report.text.hasSuffix(
                "\nnetwork: rtt +150ms, jitter 10ms, loss 0.5%; lost 3 packets down, 4 up"))
    }

    @Test func `a report tells how a run gives way where it does`() {
        var report = makeReport(down: .bytesPerSecond(50_000_000))
        #expect(!report.text.contains("background:"))
        var yielding = YieldState()
        report.yielding = yielding
        #expect(
            report.text.hasSuffix(
                "\nbackground: unlimited down, unlimited up now; gave way 0 times down, 0 up; round trip 0ms and 0ms of queue"
            ))
        report.rates = Rates(bytesPerSecond: (down: 2_340_000, up: 3000))
        (yielding.yields, yielding.base, yielding.queueing) = ([2, 1], 40_120, 1_500_000)
        report.yielding = yielding
        report.quota = 500_000
        #expect(
            report.text.contains(
                "\nbackground: 2.3 MB/s down, 3.0 kB/s up now; gave way 2 times down, 1 up; round trip 40.12ms and 1.5s of"
                    + " queue\nquota: "))
    }

    @Test func `a report tells of a quota where there is one`() {
        var report = makeReport()
        #expect(!report.text.contains("quota:"))
        report.quota = 500_000
        (report.down.counters, report.up.counters) = (Counters(passed: 200), Counters(passed: 30))
        #expect(report.text.hasSuffix("\nquota: 230.0 of 500.0 kB used"))
        report.isEndedByQuota = true
        #expect(report.text.hasSuffix("\nquota: 230.0 of 500.0 kB used, and so the command was ended"))
    }

    @Test(arguments: [
        (Counters(passed: 5, dropped: 1), "(0.05x, throttled)"), (Counters(passed: 5), "(0.05x, below the limit)"),
        (Counters(passed: 5, witness: 6), "(0.05x, NOT THROTTLED)"),
        (Counters(passed: 0, witness: 6), "upload: 0 B/s of 100.0 kB/s (0.00x, NOT THROTTLED)"),
    ])
    func `the verdict is in words`(counters: Counters, words: String) {
        var report = makeReport(up: .bytesPerSecond(100_000))
        report.up.counters = counters
        #expect(report.text.contains(words))
    }

    @Test func `a limit that didn't hold is explained at the end`() {
        var report = makeReport(down: .bytesPerSecond(50_000))
        report.down.counters = Counters(passed: 0, witness: 6)
        report.end(.exited(0), after: 0)
        let last = report.text.split(separator: "\n").last
        #expect(last?.hasPrefix("NOT THROTTLED: download: 6 packets") == true)
        report.down.counters = Counters(passed: 6, witness: 6)
        #expect(!report.text.contains("NOT THROTTLED"))
    }

    @Test(arguments: [
        (Outcome.exited(0), "exited with status 0"), (.exited(255), "exited with status 255"),
        (.killed(signal: 9), "killed by signal 9"),
        (.notExecuted(.permissionDenied), "not executed (Permission denied)"),
    ])
    func `the end of the command is in words`(outcome: Outcome, words: String) {
        var report = makeReport()
        report.end(outcome, after: 0)
        #expect(report.text.hasPrefix("wget: \(words) after 0.00 s\n"))
    }

    @Test func `a run without a name has the command's`() {
        let report = makeReport(name: nil)
        #expect(report.subject.name == report.subject.command[0])
        #expect(report.subject.command.count == 1)
    }
}
