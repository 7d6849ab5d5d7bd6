import Programs
import TestSupport
import Testing
import Units

@testable import Reports

/// Each counter another number.
func makePlaneCounters() -> PlaneCounters {
    var counters = PlaneCounters()
    (counters.pacedSockets, counters.clampedSockets) = (2, 3)
    (counters.retransmittedSegments, counters.downQueue.droppedPackets) = (1, 4)
    (counters.downQueue.delayAverageNanoseconds, counters.downQueue.delayMaximumNanoseconds) = (70_000_000, 250_000_000)
    (counters.upQueue.delayAverageNanoseconds, counters.upQueue.delayMaximumNanoseconds) = (80_000_000, 90_000_000)
    counters.upQueue.droppedPackets = 5
    return counters
}

@Suite struct ReportTests {
    private static let limit = Rate.bytesPerSecond(50_000)

    @Test(
        arguments: [
            (limit, Counters(passed: 100, dropped: 1, witness: 101), .throttled),
            (limit, Counters(passed: 100, dropped: 1, witness: nil), .throttled),
            (limit, Counters(passed: 100, witness: 100), .belowLimit),
            (limit, Counters(passed: 100, witness: 99), .belowLimit),
            (limit, Counters(passed: 0, witness: 0), .belowLimit),
            (limit, Counters(passed: 100, witness: 101), .notThrottled),
            (limit, Counters(passed: 100, dropped: 50, witness: 151), .notThrottled),
            (limit, Counters(passed: 0, witness: 1), .notThrottled),
            (limit, Counters(passed: 0, witness: 9, exempt: 9), .exempt),
            (limit, Counters(passed: 1, witness: 10, exempt: 9), .belowLimit),
            (limit, Counters(passed: 0, dropped: 1, witness: 10, exempt: 9), .throttled),
            (limit, Counters(passed: 0, witness: 10, exempt: 9), .notThrottled),
            (.unlimited, Counters(passed: 0, witness: 9, exempt: 9), .unlimited),
            (.unlimited, Counters(passed: 100, witness: 100), .unlimited),
            (.unlimited, Counters(passed: 0, witness: 100), .unlimited),
        ] as [(Rate, Counters, Verdict)])
    func `the verdict follows from the counters`(limit: Rate, counters: Counters, verdict: Verdict) {
        var report = makeReport(down: limit)
        report.down.counters = counters
        #expect(report.verdict(report.down) == verdict)
        #expect(report.verdict(report.up) == .unlimited)
        #expect(report.reasons.isEmpty == (verdict != .notThrottled))
    }

    @Test func `a limit that only planes held has throttled its direction`() {
        func verdicts(_ change: (inout PlaneCounters) -> Void) -> [Verdict] {
            var report = makeReport(down: ReportTests.limit, up: ReportTests.limit)
            (report.down.counters, report.up.counters) = (Counters(passed: 9, witness: 9), Counters(passed: 9))
            change(&report.planeCounters)
            return [report.verdict(report.down), report.verdict(report.up)]
        }
        #expect(verdicts { ($0.pacedSockets, $0.clampedSockets) = (5, 5) } == [.belowLimit, .belowLimit])
        #expect(verdicts { $0.heldDownloads = true } == [.throttled, .belowLimit])
        #expect(verdicts { $0.heldUploads = true } == [.belowLimit, .throttled])
        #expect(verdicts { $0.retransmittedSegments = 1 } == [.belowLimit, .belowLimit])
    }

    @Test func `packets that TCP keeps for later throttle uploads, and none of their tries escapes`() {
        var report = makeReport(up: ReportTests.limit)
        report.up.counters = Counters(passed: 9, dropped: 1, witness: 15)
        #expect(report.verdict(report.up) == .notThrottled)
        report.up.counters.deferredPackets = 5
        #expect(report.verdict(report.up) == .throttled)
        #expect(report.up.counters.programCalls == 15)
        #expect(report.up.droppedShare == 0.1)
        report.up.counters.droppedPackets = 0
        #expect(report.verdict(report.up) == .notThrottled)
        report.up.counters.witnessPackets = 14
        #expect(report.verdict(report.up) == .throttled)
    }

    @Test func `no plane makes up for packets that escaped, or for a limit that isn't there`() {
        var report = makeReport(down: ReportTests.limit)
        report.down.counters = Counters(passed: 9, witness: 10)
        (report.planeCounters.heldDownloads, report.planeCounters.heldUploads) = (true, true)
        #expect(report.verdict(report.down) == .notThrottled)
        #expect(report.verdict(report.up) == .unlimited)
    }

    @Test func `one direction that isn't held makes the run not throttled`() {
        var report = makeReport(down: ReportTests.limit, up: ReportTests.limit)
        report.down.counters = Counters(passed: 100, dropped: 5, witness: 105)
        #expect(report.reasons.isEmpty)
        report.up.counters = Counters(passed: 0, witness: 3)
        #expect(report.reasons.count == 1)
    }

    @Test func `a run that was never limited, or whose command left, is not throttled`() {
        var report = makeReport(down: ReportTests.limit)
        report.down.counters = Counters(passed: 100, dropped: 5, witness: 105)
        report.hasMoved = true
        #expect(report.verdict(report.down) == .notThrottled)
        report.hasMoved = false
        #expect(report.verdict(report.down) == .throttled)
        report.subject.id = nil
        #expect(report.verdict(report.down) == .notThrottled)
        #expect(report.verdict(report.up) == .unlimited)
    }

    @Test func `the achieved rate is over the time that traffic flowed, at least a second`() {
        var report = makeReport(down: ReportTests.limit)
        for (counters, achieved) in [
            (Counters(passed: 100, seconds: 2), 50_000), (Counters(passed: 100, seconds: 0.1), 100_000),
            (Counters(passed: 0, seconds: 0), 0),
        ] as [(Counters, Double)] {
            report.down.counters = counters
            report.end(.exited(0), after: 9_000_000_000)
            #expect(report.down.achieved == achieved)
            #expect(report.down.ratio == achieved / 50_000)
        }
    }

    @Test func `without a limit the achieved rate is over the whole run`() {
        var report = makeReport(down: ReportTests.limit)
        report.up.counters = Counters(passed: 100, seconds: 0)
        report.end(.exited(0), after: 4_000_000_000)
        #expect(report.up.achieved == 25_000)
        #expect(report.up.ratio == nil)
    }

    @Test func `the achieved rate counts what the limit counts`() {
        var report = makeReport(up: ReportTests.limit, counting: .wire)
        report.up.counters = Counters(passed: 100, dropped: 100, seconds: 4)
        report.end(.exited(0), after: 9_000_000_000)
        #expect(report.up.achieved == 26_650)
        #expect(report.up.ratio == 0.533)
    }

    @Test func `the dropped share is of all packets`() {
        var report = makeReport(down: ReportTests.limit)
        #expect(report.down.droppedShare == 0)
        report.down.counters = Counters(passed: 3, dropped: 1)
        #expect(report.down.droppedShare == 0.25)
    }

    @Test func `escaped packets are those that only the witness saw`() {
        var report = makeReport(down: ReportTests.limit)
        for (counters, escaped) in [
            (Counters(passed: 5, dropped: 2, witness: 10), 3), (Counters(passed: 5, witness: 4), 0),
            (Counters(passed: 5, witness: nil), 0), (Counters(passed: 0, witness: 7), 7),
        ] as [(Counters, UInt64)] {
            report.down.counters = counters
            #expect(report.down.escapedPackets == escaped)
        }
    }

    @Test func `the end of a run warns of each direction that wasn't held`() {
        var report = makeReport(down: ReportTests.limit, up: ReportTests.limit)
        report.down.counters = Counters(passed: 0, witness: 20)
        report.up.counters = Counters(passed: 7, witness: 9)
        report.end(.exited(0), after: 0)
        #expect(report.outcome == .exited(0))
        #expect(report.warnings.count == 2)
        #expect(
            report.warnings[0].hasPrefix("download: 20 packets (21.0 kB) reached the run's parent cgroup, but none"))
        #expect(
            report.warnings[1].hasPrefix("upload: 9 packets (9.5 kB) reached the run's parent cgroup, but only 7 of"))
        #expect(report.warnings.allSatisfy { $0.contains("bpftool cgroup tree") })
    }

    @Test func `a command that left its cgroup is told of first`() {
        var report = makeReport(down: ReportTests.limit)
        report.down.counters = Counters(passed: 0, witness: 20)
        report.hasMoved = true
        report.end(.exited(0), after: 0)
        #expect(report.warnings.first?.hasPrefix("the command left the run's cgroup (as sudo") == true)
        #expect(report.warnings.count == 2)
    }

    @Test func `a run that went well warns of nothing`() {
        var report = makeReport(down: ReportTests.limit)
        report.down.counters = Counters(passed: 100, dropped: 3, witness: 103)
        report.end(.killed(signal: 2), after: 0)
        #expect(report.warnings.isEmpty)
    }
}
