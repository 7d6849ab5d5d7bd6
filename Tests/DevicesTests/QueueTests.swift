import CTestSupport
import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@testable import Devices

@Suite struct QueueTests {
    @Test func `a queue is there for as long as its scope, and nothing else changes`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            try shell("ip link add other type ifb && tc qdisc add dev other root tbf rate 1mbit burst 2000 limit 9000")
            let before = try everything()
            let lines = Lines()
            do {
                let queue = try Queue(
                    named: "thr1234d", in: .current(), alias: "throttle run 1234", rate: 5_000_000, log: lines.log)
                let device = try #require(try devices().first { $0.index == queue.device })
                #expect(device.name == "thr1234d" && device.kind == "ifb" && device.isUp)
                #expect(device.alias == "throttle run 1234")
                let witness = try #require(try json("ip -d -j link show thr1234d").first)
                #expect(witness["ifalias"] as? String == "throttle run 1234")
                #expect((witness["inet6_addr_gen_mode"] as? String ?? "none") == "none")
                let qdiscs = try shell("tc qdisc show dev thr1234d").split(separator: "\n")
                // One of three is for the first packets of each flow, which fq_codel lets by without it.
                let leaves = queue.leafKind == .fqCodel ? ["7474:10", "7474:20"] : ["7474:10", "7474:20", "7474:50"]
                #expect(qdiscs.count == 1 + leaves.count && qdiscs[0].hasPrefix("qdisc htb 7474: root"))
                #expect(qdiscs[0].contains("default 0x20"))
                #expect(qdiscs.filter { $0.contains(queue.leafKind.rawValue) }.count == leaves.count)
                let classes = try classes(of: "thr1234d")
                #expect(classes.map(\.id) == ["7474:1"] + leaves)
                #expect(
                    classes[0].text.contains(
                        "rate 40Mbit ceil 40Mbit linklayer ethernet burst 20000b/1 mpu 0b cburst 20000b/1"))
                for leaf in classes.dropFirst() {
                    #expect(leaf.text.contains("parent 7474:1 ") && leaf.text.contains("quantum 80000"))
                    #expect(leaf.text.contains("rate 8bit ceil 8Tbit"))
                    #expect(leaf.text.contains(leaf.id == "7474:50" ? "prio 0" : "prio 1"))
                }
            }
            #expect(try everything() == before)
            #expect(lines.all.count == 2 && lines.all[0].hasPrefix("debug: created device thr1234d (ifb, index "))
            #expect(lines.all.last == "debug: removed device thr1234d")
        }
    }

    @Test func `a queue for uploads is a device above another, which goes with it`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let before = try everything()
            do {
                let queue = try Queue.ofRun("12", for: .egress, in: .current(), rate: 5_000_000, log: .silent)
                let devices = try devices()
                let front = try #require(devices.first { $0.index == queue.device })
                let owner = try #require(devices.first { $0.index == queue.owner })
                #expect(front.name == "thv-12" && front.kind == "macvlan" && front.isUp)
                #expect(owner.name == "thu-12" && owner.kind == "ifb" && owner.isUp && owner.queueLabel?.run == "12")
                #expect(try classes(of: "thv-12").map(\.id) == ["7474:1", "7474:10", "7474:20"])
                // Nothing is dropped, so nothing is too long.
                let leaves = try shell("tc qdisc show dev thv-12").split(separator: "\n").dropFirst()
                #expect(leaves.allSatisfy { $0.contains("limit 15625Kb") || $0.contains("limit 1000000p") })
                #expect(try DeadQueues(in: .current(), filterNames: []).devices.isEmpty)
                try shell("ip link add thu-13 type ifb; ip link add link thu-13 name thv-13 type macvlan")
                let dead = try DeadQueues(in: .current(), filterNames: [])
                #expect(dead.leftovers(isRemoving: true) == [Leftover(.device, "thu-13")])
            }
            #expect(try everything() == before)
        }
    }

    @Test func `a queue whose name is taken leaves what is there`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            try shell("ip link add taken type ifb")
            let before = try everything()
            let lines = Lines()
            let error = #expect(throws: SystemError.self) {
                _ = try Queue(named: "taken", in: .current(), alias: "", rate: 1000, log: lines.log)
            }
            #expect(lines.all.isEmpty)
            #expect(error?.errno == .fileExists)
            #expect(error?.description == "can't create device taken: File exists; another device has that name")
            #expect(try everything() == before)
        }
    }

    @Test(arguments: ["", "sixteen-letters.", "a/b", "."])
    func `a name that no device can have is refused`(name: String) async {
        let error = #expect(throws: SystemError.self) {
            _ = try Queue(named: name, in: .current(), alias: "", rate: 1000, log: .silent)
        }
        #expect(error?.errno == .invalidArgument)
        #expect(error?.description.hasPrefix("can't create device \(name): Invalid argument") == true)
    }

    @Test func `a queue that can't be completed goes`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let before = try everything()
            let lines = Lines()
            // IFLA_IFALIAS takes less than 256 bytes (IFALIASZ).
            let alias = String(repeating: "x", count: 300)
            let error = #expect(throws: SystemError.self) {
                _ = try Queue(named: "q", in: .current(), alias: alias, rate: 1000, log: lines.log)
            }
            #expect(error?.operation == "label")
            #expect(lines.all.last == "debug: removed device q")
            #expect(try everything() == before)
        }
    }

    @Test func `a queue takes CAP_NET_ADMIN`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            #expect(test_keep_capabilities(0) == 0)
            let error = #expect(throws: SystemError.self) {
                _ = try Queue(named: "q", in: .current(), alias: "", rate: 1, log: .silent)
            }
            #expect(error?.errno == .notPermitted)
            #expect(error?.description.contains("CAP_NET_ADMIN") == true)
            #expect(try devices().map(\.name) == ["lo"])
        }
    }

    @Test func `another rate changes the upper class only`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let queue = try Queue(named: "q", in: .current(), alias: "", rate: 5_000_000, log: .silent)
            let before = try classes(of: "q")
            for (rate, text) in [
                (UInt64(50_000), "rate 400Kbit ceil 400Kbit linklayer ethernet burst 1514b/1"),
                (200_000_000, "rate 1600Mbit"),
                (1, "rate 8bit ceil 8bit"), (5_000_000_000, "rate 40Gbit ceil 40Gbit"),
                (20_000_000_000, "rate 160Gbit ceil 160Gbit"),
            ] {
                try queue.setRate(rate)
                let after = try classes(of: "q")
                #expect(after[0].text.contains(text), "\(rate): \(after[0].text)")
                #expect(after.dropFirst().map(\.text) == before.dropFirst().map(\.text))
            }
        }
    }

    @Test func `a queue that someone removed says so, and its end is quiet`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let lines = Lines()
            do {
                let queue = try Queue(named: "q", in: .current(), alias: "", rate: 5_000_000, log: lines.log)
                try shell("ip link delete q && ip link add q type bridge")
                let change = #expect(throws: SystemError.self) { try queue.setRate(1000) }
                #expect(change?.description == "can't set the rate of device q: No such device")
                let reading = #expect(throws: SystemError.self) { _ = try queue.statistics() }
                #expect(reading?.description.hasSuffix("; someone has removed it") == true)
            }
            #expect(lines.all.allSatisfy { $0.hasPrefix("debug: ") })
            #expect(try devices().map(\.name) == ["lo", "q"])
        }
    }

    @Test func `a queue that a dead run left is removed, other devices aren't`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let names = ["thr-1", "thr-4194304-2", "thr-2x", "thr1", "thr-7"]
            for name in names { try shell("ip link add \(name) type ifb") }
            try shell("ip link add thr-3 type bridge && ip link set thr-7 alias mine")
            do {
                let live = try Queue.ofRun("5", in: .current(), rate: 1000, log: .silent)
                let dead = try DeadQueues(in: .current(), filterNames: ["x"])
                let expected = ["thr-1", "thr-4194304-2"].map { Leftover(.device, $0) }
                #expect(dead.leftovers(isRemoving: false) == expected)
                #expect(dead.leftovers(isRemoving: true) == expected)
                #expect(try devices().map(\.name).contains("thr-5"))
                _ = live.device
            }
            #expect(Set(try devices().map(\.name)) == ["lo", "thr-2x", "thr1", "thr-3", "thr-7"])
        }
    }

    @Test func `runs of one id have queues with names of their own`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            do {
                let first = try Queue.ofRun("1", in: .current(), rate: 1000, log: .silent)
                let second = try Queue.ofRun("1", in: .current(), rate: 1000, log: .silent)
                #expect(try devices().map(\.name) == ["lo", "thr-1", "thr-1-2"])
                #expect(first.device != second.device)
            }
            #expect(try devices().map(\.name) == ["lo"])
        }
    }

    @Test(arguments: [
        (UInt64(1), UInt32(50_000_000), CInt(8)), (50_000, 60_560, 8), (5_000_000, 16_000, 660),
        (200_000_000, 5000, 26_420), (1 << 40, 5000, 145_245_921), (1 << 60, 5000, CInt.max),
    ])
    func `fq_codel's limits follow the rate`(rate: UInt64, target: UInt32, packets: CInt) {
        let expected = LeafLimits(target: target, interval: 20 * target, limit: packets)
        #expect(LeafLimits(rate: rate) == expected)
    }

    @Test func `the kernel has no complaints about a queue of any rate`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let before = try shell("dmesg | grep -c HTB || true")
            for rate in [1, 1000, 50_000, 5_000_000, 12_500_000_000, 1 << 40] as [UInt64] {
                let queue = try Queue(named: "q", in: .current(), alias: "", rate: rate, log: .silent)
                let statistics = try queue.statistics()
                #expect(
                    statistics == QueueStatistics(tcp: .init(), rest: .init(), near: .init(), fresh: .init()), "\(rate)"
                )
            }
            #expect(try shell("dmesg | grep -c HTB || true") == before)
        }
    }
}

/// The HTB classes of a device as tc(8) prints them, by handle.
func classes(of device: String) throws -> [(id: String, text: String)] {
    try shell("tc -d class show dev \(device)").split(separator: "\n").map { line in
        (String(line.split(separator: " ")[2]), String(line))
    }.sorted { $0.0 < $1.0 }
}
