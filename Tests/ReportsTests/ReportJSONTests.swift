import FoundationEssentials
import Kernel
import Processes
import Programs
import SystemPackage
import TestSupport
import Testing
import Units

@testable import Reports

/// Any JSON value.
private enum JSON: Decodable, Equatable {
    case null, bool(Bool), unsigned(UInt64), number(Double), string(String), array([JSON]), object([String: JSON])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        self =
            if value.decodeNil() { .null } else if let bool = try? value.decode(Bool.self) {
                .bool(bool)
            } else if let unsigned = try? value.decode(UInt64.self) {
                .unsigned(unsigned)
            } else if let number = try? value.decode(Double.self) {
                .number(number)
            } else if let string = try? value.decode(String.self) {
                .string(string)
            } else if let array = try? value.decode([JSON].self) {
                .array(array)
            } else { .object(try value.decode([String: JSON].self)) }
    }

    subscript(key: String) -> JSON? {
        if case .object(let values) = self { values[key] } else { nil }
    }

    var keys: Set<String> {
        if case .object(let values) = self { Set(values.keys) } else { [] }
    }
}

@Suite struct ReportJSONTests {
    private static let always: Set = [
        "schema", "name", "command", "elapsed_seconds", "mode", "planes", "count", "burst_seconds", "left_behind",
        "linger",
        "not_throttled",
        "warnings", "rtt_seconds", "jitter_seconds", "loss_share",
        "download", "upload",
    ]
    private static let sometimes: Set = [
        "id", "attach_method", "exit_status", "exit_signal", "exec_errno", "shape_obstacle", "quota_bytes",
        "quota_used_bytes", "ended_by_quota", "background",
    ]
    private static let traffic: Set = [
        "achieved_bytes_per_second", "verdict", "averaged_seconds", "program_calls", "passed_packets",
        "passed_payload_bytes", "passed_wire_bytes", "dropped_packets", "dropped_payload_bytes",
        "dropped_packet_share", "exempt_packets", "exempt_bytes", "lost_packets", "queue_delay_average_seconds",
        "queue_delay_maximum_seconds", "queue_dropped_packets",
    ]
    private static let trafficSometimes: Set = [
        "limit_bytes_per_second", "achieved_ratio", "witness_packets", "witness_bytes",
    ]

    private static let ofDownloads: Set = ["clamped_sockets"]
    private static let ofUploads: Set = ["paced_sockets", "deferred_packets", "retransmitted_segments"]

    private func parse(_ report: Report) throws -> JSON {
        let json = report.json
        #expect(!json.contains("\n"))
        return try JSONDecoder().decode(JSON.self, from: Data(json.utf8))
    }

    @Test func `the document has the keys of its schema, those without a value left out`() throws {
        var report = makeReport(down: .bytesPerSecond(50_000))
        report.down.counters = Counters(passed: 1, witness: 1)
        report.up.counters = Counters(passed: 1)
        report.end(.exited(0), after: 0)
        let document = try parse(report)
        #expect(document.keys == ReportJSONTests.always.union(["id", "attach_method", "exit_status"]))
        let traffic = ReportJSONTests.traffic
        let ofDownloads = traffic.union(ReportJSONTests.ofDownloads)
        #expect(document["download"]?.keys == ofDownloads.union(ReportJSONTests.trafficSometimes))
        #expect(document["upload"]?.keys == traffic.union(ReportJSONTests.ofUploads))
        report.subject.id = nil
        report.subject.method = nil
        report.outcome = nil
        #expect(try parse(report).keys == ReportJSONTests.always)
    }

    @Test func `the man page documents every key`() throws {
        let page = try readText(
            #filePath.replacing("Tests/ReportsTests/ReportJSONTests.swift", with: "man/throttle-run.1"))
        let keys = ReportJSONTests.always.union(ReportJSONTests.sometimes).union(ReportJSONTests.traffic)
            .union(ReportJSONTests.trafficSometimes).union(ReportJSONTests.ofDownloads)
            .union(ReportJSONTests.ofUploads)
        let words = Set(page.split { !$0.isLetter && $0 != "_" }.map(String.init))
        #expect(keys.subtracting(words).isEmpty)
    }

    @Test func `the document tells what happened`() throws {
        var report = makeReport(down: .bytesPerSecond(50_000), up: .bytesPerSecond(8), counting: .wire)
        report.down.counters = Counters(passed: 3, dropped: 1, witness: 9, exempt: 2, seconds: 2)
        report.end(.exited(7), after: 1_500_000_000)
        let document = try parse(report)
        let download = document["download"]
        for (found, expected) in [
            (document["schema"], .unsigned(1)), (document["id"], .string("4711")),
            (document["name"], .string("wget")), (document["command"], .array(report.subject.command.map(JSON.string))),
            (document["exit_status"], .unsigned(7)), (document["elapsed_seconds"], .number(1.5)),
            (document["mode"], .string("auto")), (document["attach_method"], .string("link")),
            (document["count"], .string("wire")), (document["burst_seconds"], .number(0.2)),
            (document["not_throttled"], .bool(true)), (document["warnings"], .array(report.warnings.map(JSON.string))),
            (download?["limit_bytes_per_second"], .unsigned(50_000)),
            (download?["achieved_bytes_per_second"], .unsigned(1599)), (download?["achieved_ratio"], .number(0.03198)),
            (download?["verdict"], .string("not_throttled")), (download?["averaged_seconds"], .unsigned(2)),
            (download?["program_calls"], .unsigned(6)), (download?["passed_packets"], .unsigned(3)),
            (download?["passed_payload_bytes"], .unsigned(3000)), (download?["passed_wire_bytes"], .unsigned(3198)),
            (download?["dropped_packets"], .unsigned(1)), (download?["dropped_payload_bytes"], .unsigned(1000)),
            (download?["dropped_packet_share"], .number(0.25)), (download?["witness_packets"], .unsigned(9)),
            (download?["witness_bytes"], .unsigned(9468)), (download?["exempt_packets"], .unsigned(2)),
            (download?["exempt_bytes"], .unsigned(2104)), (document["upload"]?["verdict"], .string("below_limit")),
        ] as [(JSON?, JSON)] {
            #expect(found == expected)
        }
        #expect(report.warnings.count == 1)
    }

    @Test func `the document tells what held the limits`() throws {
        var report = makeReport(down: .bytesPerSecond(50_000), up: .bytesPerSecond(50_000))
        report.planes = [.police, .window, .pace]
        report.obstacle = "no IFB"
        report.planeCounters = makePlaneCounters()
        report.up.counters.deferredPackets = 9
        let document = try parse(report)
        let (download, upload) = (document["download"], document["upload"])
        for (found, expected) in [
            (document["planes"], .array([.string("pace"), .string("police"), .string("window")])),
            (document["shape_obstacle"], .string("no IFB")), (download?["clamped_sockets"], .unsigned(3)),
            (download?["queue_delay_average_seconds"], .number(0.07)),
            (download?["queue_delay_maximum_seconds"], .number(0.25)),
            (download?["queue_dropped_packets"], .unsigned(4)), (upload?["paced_sockets"], .unsigned(2)),
            (upload?["queue_delay_average_seconds"], .number(0.08)), (upload?["queue_dropped_packets"], .unsigned(5)),
            (upload?["deferred_packets"], .unsigned(9)), (upload?["retransmitted_segments"], .unsigned(1)),
        ] as [(JSON?, JSON)] {
            #expect(found == expected)
        }
    }

    @Test func `the document tells of a slow network`() throws {
        var report = makeReport()
        #expect(try parse(report)["loss_share"] == .unsigned(0))
        report.impairment = Impairment(rtt: 0.15, jitter: 0.01, loss: 0.005)
        (report.down.counters.lostPackets, report.up.counters.lostPackets) = (3, 4)
        let document = try parse(report)
        for (found, expected) in [
            (document["rtt_seconds"], .number(0.15)), (document["jitter_seconds"], .number(0.01)),
            (document["loss_share"], .number(0.005)), (document["download"]?["lost_packets"], .unsigned(3)),
            (document["upload"]?["lost_packets"], .unsigned(4)),
        ] as [(JSON?, JSON)] {
            #expect(found == expected)
        }
    }

    @Test func `the document tells how a run gives way where it does`() throws {
        var report = makeReport()
        #expect(try parse(report)["background"] == nil)
        var yielding = YieldState()
        (yielding.isAway, yielding.yields) = ([true, false], [3, .max])
        (yielding.base, yielding.queueing) = (40_000, 1500)
        report.yielding = yielding
        #expect(
            try parse(report)["background"]
                == .object([
                    "download_away": .bool(true), "upload_away": .bool(false), "download_yields": .unsigned(3),
                    "upload_yields": .unsigned(UInt64(UInt32.max)), "base_seconds": .number(0.04),
                    "queueing_seconds": .number(0.0015),
                ]))
        report.rates = Rates(bytesPerSecond: (down: 2_340_000, up: nil))
        let background = try parse(report)["background"]
        #expect(background?["download_bytes_per_second"] == .unsigned(2_340_000))
        #expect(background?["upload_bytes_per_second"] == nil)
    }

    @Test(arguments: [(Counting.payload, 5000), (.wire, 5330)] as [(Counting, UInt64)])
    func `the document tells of a quota where there is one`(counting: Counting, used: UInt64) throws {
        var report = makeReport(counting: counting)
        report.quota = 6000
        (report.down.counters, report.up.counters) = (Counters(passed: 2), Counters(passed: 3))
        #expect(try parse(report)["ended_by_quota"] == .bool(false))
        report.isEndedByQuota = true
        let document = try parse(report)
        #expect(document["quota_bytes"] == .unsigned(6000) && document["quota_used_bytes"] == .unsigned(used))
        #expect(document["ended_by_quota"] == .bool(true))
    }

    @Test func `the command's end is one of three keys`() throws {
        for (outcome, key, value) in [
            (.exited(255), "exit_status", 255), (.killed(signal: 15), "exit_signal", 15),
            (.notExecuted(.noSuchFileOrDirectory), "exec_errno", 2),
        ] as [(Outcome, String, UInt64)] {
            var report = makeReport()
            report.end(outcome, after: 0)
            let document = try parse(report)
            #expect(document[key] == .unsigned(value))
            #expect(document.keys.intersection(["exit_status", "exit_signal", "exec_errno"]) == [key])
        }
    }

    @Test(arguments: [(1 << 53) + 1, UInt64(Int64.max), UInt64.max] as [UInt64])
    func `counters are exact whatever their size`(count: UInt64) throws {
        var report = makeReport(down: .bytesPerSecond(UInt64(Int64.max)))
        report.down.counters.passedPayloadBytes = count
        report.down.counters.witnessBytes = count
        let download = try parse(report)["download"]
        #expect(download?["passed_payload_bytes"] == .unsigned(count))
        #expect(download?["witness_bytes"] == .unsigned(count))
        #expect(download?["limit_bytes_per_second"] == .unsigned(UInt64(Int64.max)))
    }

    @Test(arguments: ["a\"b", "a\\b", "line\nbreak", "\u{1}\t\u{7f}", "é日本💥", "a/b", ""])
    func `any text comes back as it was`(name: String) throws {
        #expect(try parse(makeReport(name: name))["name"] == .string(name))
    }
}
