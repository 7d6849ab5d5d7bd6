import CTestSupport
import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@testable import Devices

private typealias Priority = FilterPlace.Priority

/// A run's place on loopback, and the filter that it has there.
private final class Visit {
    private var place: FilterPlace?
    private let handle: UInt32
    let priority: Priority
    let log = Lines()

    init(handle: UInt32) throws {
        let log = log
        let lo = try devices()[0]
        let place = try FilterPlace(on: lo, .ingress, in: .current(), log: log.log) { priority throws(SystemError) in
            try addFilter(priority, handle)
        }
        self.handle = handle
        priority = place.priority
        self.place = consume place
    }

    func leave() {
        place.take()?.leave {
            _ = try? shell("tc filter del dev lo ingress pref \(priority.value) handle \(handle) bpf")
        }
    }
}

private func addFilter(_ priority: Priority, _ handle: UInt32) throws(SystemError) {
    do {
        // A program that matches nothing: `ret #0`.
        try shell(
            "tc filter add dev lo ingress pref \(priority.value) handle \(handle) bpf bytecode '1,6 0 0 0'")
    } catch {
        throw SystemError("attach", "\(error)", errno: .invalidArgument)
    }
}

private func ingressQdiscs() throws -> [String] {
    try shell("tc qdisc show dev lo").split(separator: "\n").map { String($0.split(separator: " ")[1]) }
        .filter { $0 == "clsact" || $0 == "ingress" }
}

private func filters() throws -> String {
    try shell("tc filter show dev lo ingress; tc filter show dev lo egress")
}

@Suite struct FilterPlaceTests {
    private static let added = "debug: added qdisc clsact to lo"
    private static let removed = "debug: removed qdisc clsact from lo"

    @Test func `a run adds clsact and takes it along`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let before = try everything()
            let visit = try Visit(handle: 1)
            #expect(visit.priority == .inOurs(.ingress))
            #expect(try ingressQdiscs() == ["clsact"])
            #expect(try filters().contains("pref 65535 bpf"))
            visit.leave()
            #expect(try everything() == before)
            #expect(visit.log.all == [FilterPlaceTests.added, FilterPlaceTests.removed])
        }
    }

    /// As any process of the namespace may.
    @Test func `somebody who keeps the lock delays a run, but not for ever`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let holding = "flock 9 && echo $$ && exec sleep 25 >/dev/null 2>&1 9<&9"
            let pid = try shell("sh -c '\(holding)' 9</proc/self/ns/net >pid-$$ & sleep 0.2; cat pid-$$; rm pid-$$")
            let visit = try Visit(handle: 1)
            #expect(try ingressQdiscs() == ["clsact"])
            visit.leave()
            #expect(try ingressQdiscs() == [])
            try shell("kill \(pid)")
        }
    }

    @Test(arguments: [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]])
    func `the last of several runs removes clsact, whichever made it`(order: [Int]) async {
        await #expect(processExitsWith: .success) { [order] in
            try enterNamespace()
            let before = try everything()
            let visits = try (1...3).map { try Visit(handle: $0) }
            #expect(visits.map(\.priority) == Array(repeating: .inOurs(.ingress), count: 3))
            for number in order {
                visits[number].leave()
                #expect(try ingressQdiscs() == (number == order[2] ? [] : ["clsact"]))
            }
            #expect(try everything() == before)
            var expected: [[String]] = [[FilterPlaceTests.added], [], []]
            expected[order[2]].append(FilterPlaceTests.removed)
            #expect(visits.map(\.log.all) == expected)
        }
    }

    @Test(arguments: ["clsact", "ingress"], ["", "ingress"])
    func `another's qdisc is used and stays, with its filters`(kind: String, side: String) async {
        await #expect(processExitsWith: .success) { [kind, side] in
            try enterNamespace()
            try shell("tc qdisc add dev lo \(kind)")
            if !side.isEmpty {
                try shell("tc filter add dev lo \(side) protocol ip pref 7 u32 match u32 0 0 classid 1:1")
            }
            let before = (try everything(), try filters())
            for _ in 0..<2 {
                let visits = try (1...2).map { try Visit(handle: $0) }
                #expect(visits.map(\.priority) == [.inTheirs(.ingress), .inTheirs(.ingress)])
                #expect(try filters().contains("pref 65534 bpf"))
                for visit in visits { visit.leave() }
                #expect(try everything() == before.0)
                #expect(try filters() == before.1)
                #expect(visits.map(\.log.all) == [[], []])
            }
        }
    }

    @Test(arguments: ["ingress", "egress"])
    func `clsact stays for a filter that another put on it`(side: String) async {
        await #expect(processExitsWith: .success) { [side] in
            try enterNamespace()
            let visit = try Visit(handle: 1)
            try shell("tc filter add dev lo \(side) protocol ip pref 7 u32 match u32 0 0 classid 1:1")
            visit.leave()
            #expect(try ingressQdiscs() == ["clsact"])
            #expect(try filters().contains("pref 7 u32"))
            #expect(try filters().contains("pref 65535") == false)
            #expect(visit.log.all == [FilterPlaceTests.added])
        }
    }

    @Test(arguments: ["", "clsact", "ingress"])
    func `a filter that can't be attached leaves what there was`(kind: String) async {
        await #expect(processExitsWith: .success) { [kind] in
            try enterNamespace()
            if !kind.isEmpty { try shell("tc qdisc add dev lo \(kind)") }
            let before = try everything()
            let lo = try devices()[0]
            let error = #expect(throws: SystemError.self) {
                _ = try FilterPlace(on: lo, .ingress, in: .current(), log: .silent) { _ throws(SystemError) in
                    throw SystemError("attach", "it", errno: .noSpace)
                }
            }
            #expect(error?.description.hasPrefix("can't attach it: ") == true)
            #expect(try everything() == before)
        }
    }

    @Test func `a device that is gone is no place, and no failure to leave`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            try shell("ip link add d0 type bridge && ip link add d1 type bridge")
            let devices = try devices().filter { !$0.isLoopback }
            try shell("ip link delete d0")
            let error = #expect(throws: SystemError.self) {
                _ = try FilterPlace(on: devices[0], .ingress, in: .current(), log: .silent) { _ in
                    Issue.record("attached")
                }
            }
            #expect(error?.description == "can't add qdisc clsact to d0: No such device")
            let log = Lines()
            let place = try FilterPlace(on: devices[1], .ingress, in: .current(), log: log.log) { _ in }
            try shell("ip link delete d1")
            place.leave {}
            #expect(log.all == ["debug: added qdisc clsact to d1", "debug: removed qdisc clsact from d1"])
        }
    }

    @Test func `a place takes CAP_NET_ADMIN`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let lo = try devices()[0]
            #expect(test_keep_capabilities(0) == 0)
            let error = #expect(throws: SystemError.self) {
                _ = try FilterPlace(on: lo, .ingress, in: .current(), log: .silent) { _ in Issue.record("attached") }
            }
            #expect(error?.errno == .notPermitted)
        }
    }
}
