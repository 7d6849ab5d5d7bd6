import Foundation
import Testing

/// What others have on the devices stays and goes on; what runs put there is gone after them.
@Suite(.serialized) struct BesideOthersTests {
    let lab: Lab
    let network: NetworkPair
    let bpftool: BPFTool

    init() throws {
        lab = try Lab()
        network = try NetworkPair(lab)
        bpftool = BPFTool(lab: lab)
    }

    private func near(_ words: String...) throws -> String {
        try lab.require(network.near.entry + words)
    }

    /// The devices, qdiscs, classes and filters of the near namespace, and programs by tcx; no counters.
    private func listing() throws -> [String] {
        try ["ip -o link", "tc qdisc", "tc class show dev veth0", "tc filter show dev veth0", "tc filter show dev lo"]
            .map { try lab.require(network.near.entry + $0.split(separator: " ").map(String.init)) }
            + [tcx(), near("tc", "-j", "filter", "show", "dev", "veth0", "ingress"), near("tc", "-j", "qdisc")]
    }

    private func tcx() throws -> String {
        try near("/usr/bin/python3", Fixtures.script("tcx.py"), "list")
    }

    private func queues() throws -> Int {
        try near("ip", "-br", "link").matches(of: /thr-[0-9]+/).count
    }

    /// Ids of the programs that lead packets into queues.
    private func leadingPrograms(beside others: Set<Int>) throws -> Set<Int> {
        let ids = try [tcx(), near("tc", "filter", "show", "dev", "veth0", "ingress")].flatMap {
            $0.matches(of: /(?:[\[ ]|id )([0-9]+)(?=[,\]]| name throttle_(?:shape|match))/).compactMap { Int($0.1) }
        }
        return Set(ids).subtracting(others)
    }

    /// The guard takes some tens of milliseconds after its run.
    private func isGoneSoon(_ before: [String]) throws -> Bool {
        poll(timeout: .seconds(5)) { (try? listing()) == before }
    }

    /// How many packets others' HTB has sent.
    private func packetsOfHTB() throws -> Int {
        let text = try near("tc", "-s", "-j", "qdisc", "show", "dev", "veth0", "root")
        return try #require(text.firstMatch(of: /"packets":([0-9]+)/).flatMap { Int($0.1) })
    }

    /// Puts others' things on the devices, and returns the id of a program of theirs that counts what comes in.
    private func addForeigners(byTCX: Bool) throws -> Int {
        try lab.require(
            network.near.entry + [
                "sh", "-ec",
                """
                tc qdisc add dev veth0 root handle 1: htb default 1
                tc class add dev veth0 parent 1: classid 1:1 htb rate 8gbit
                tc qdisc add dev lo root handle 1: tbf rate 8gbit burst 10mb latency 50ms
                ip link add ifb-theirs type ifb
                tc qdisc add dev ifb-theirs root handle 1: tbf rate 8gbit burst 10mb latency 50ms
                ip link set ifb-theirs up
                """,
            ])
        let attaching =
            byTCX
            ? "/usr/bin/python3 \(Fixtures.script("tcx.py")) attach veth0 pins/all/foreign_tc"
            : """
            tc qdisc add dev veth0 clsact
            tc filter add dev veth0 ingress pref 10 protocol all bpf da object-pinned pins/all/foreign_tc
            tc filter add dev veth0 ingress pref 11 protocol ip u32 match ip protocol 1 0xff classid 1:1
            """
        // The pin lives in a mount namespace that ends with the script. What a filter takes, as the one for pings
        // does, comes to no filter behind it.
        let script = """
            mkdir -p pins; mount -t bpf none pins; bpftool prog loadall "$1" pins/all
            \(attaching)
            bpftool -j prog show pinned pins/all/foreign_tc | sed 's/{"id":\\([0-9]*\\).*/id \\1./'
            """
        let words = ["unshare", "-m", "sh", "-ec", script, "sh", try Fixtures.foreignPrograms.get()]
        let text = try lab.require(network.near.entry + words)
        guard let id = text.firstMatch(of: /id ([0-9]+)\./).flatMap({ Int($0.1) }) else {
            throw HarnessError("no id of the foreign program: \(text)")
        }
        return id
    }

    @Test(arguments: [false, true])
    func `others qdiscs filters and programs stay and go on`(_ areByTCX: Bool) throws {
        let theirs = try addForeigners(byTCX: areByTCX)
        let before = try listing()
        let sentBefore = try packetsOfHTB()
        let server = try Iperf3.server(in: network.far, lab)
        let words = throttle("--down", "2M", "--stats=json", "--stats-file", "stats")
        let child = try lab.start(
            network.near.entry + words + Iperf3.client(NetworkPair.farAddress, seconds: 2, "-R"))
        #expect(poll { (try? leadingPrograms(beside: [theirs]))?.isEmpty == false })
        let ours = try leadingPrograms(beside: [theirs])
        let counted = try bpftool.packets(countedBy: theirs)
        #expect(poll { (try? bpftool.packets(countedBy: theirs)) ?? 0 > counted + 50 })
        // Line by line: all that was there is there, with ours between it.
        let during = Set(try listing().joined(separator: "\n").split(separator: "\n"))
        let lost = before[..<5].joined(separator: "\n").split(separator: "\n").filter { !during.contains($0) }
        #expect(lost == [])
        if areByTCX { #expect(try tcx().contains("veth0 [\(theirs), ")) }
        let completed = try child.wait()
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        let result = try Iperf3.Result(completed.stdout)
        #expect((0.85...1.1).contains(result.bytesPerSecond / 2_000_000) && result.retransmits == 0)
        let stats = try lab.stats()
        #expect(stats.planes.contains("shape") && stats.download.dropped_packets == 0)
        #expect(try #require(stats.download.queue_delay_average_seconds) > 0)
        #expect(try bpftool.packets(countedBy: theirs) >= stats.download.passed_packets)
        #expect(try packetsOfHTB() >= sentBefore + stats.upload.passed_packets / 2)
        #expect(try isGoneSoon(before) && bpftool.areFreed(ours))
        _ = try server.wait()
        // And theirs still counts.
        let after = try bpftool.packets(countedBy: theirs)
        _ = try near("busybox", "ping", "-c", "3", "-i", "0.1", NetworkPair.farAddress)
        #expect(try bpftool.packets(countedBy: theirs) >= after + 3)
    }

    /// Ours stands behind it, so nothing comes to the queue.
    @Test func `limit holds behind a filter of others that takes everything`() throws {
        _ = try near("tc", "qdisc", "add", "dev", "veth0", "clsact")
        let filter = "tc filter add dev veth0 ingress pref 10 protocol all u32 match u32 0 0 classid 1:1"
        try lab.require(network.near.entry + filter.split(separator: " ").map(String.init))
        let before = try listing()
        let server = try Iperf3.server(in: network.far, lab)
        let words = throttle("--down", "2M", "--stats=json", "--stats-file", "stats")
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 2, "-R")
        let completed = try lab.run(network.near.entry + words + client)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        #expect(try (0.85...1.1).contains(Iperf3.Result(completed.stdout).bytesPerSecond / 2_000_000))
        let stats = try lab.stats()
        #expect(stats.download.verdict == "throttled" && stats.download.queue_delay_maximum_seconds == 0)
        #expect(try isGoneSoon(before))
        _ = try server.wait()
    }

    @Test(arguments: [false, true])
    func `two runs at once hold their own limits`(_ isClsactTheirs: Bool) throws {
        if isClsactTheirs { _ = try near("tc", "qdisc", "add", "dev", "veth0", "clsact") }
        let before = try listing()
        let limits = ["1M": 1_000_000.0, "3M": 3_000_000]
        var runs: [(limit: String, child: Child, server: Child)] = []
        for (limit, port) in zip(limits.keys.sorted(), ["5201", "5202"]) {
            let server = try Iperf3.server(in: network.far, lab, "-p", port)
            let client = Iperf3.client(NetworkPair.farAddress, seconds: 3, "-R", "-p", port)
            let words = throttle("--down", limit, "--stats=json", "--stats-file", "stats-\(limit)")
            runs.append((limit, try lab.start(network.near.entry + words + client), server))
        }
        #expect(poll { (try? queues()) == 2 })
        for run in runs {
            let completed = try run.child.wait()
            #expect(completed.ending == .exited(0) && completed.stderr == "")
            let result = try Iperf3.Result(completed.stdout)
            let limit = try #require(limits[run.limit])
            #expect((0.85...1.1).contains(result.bytesPerSecond / limit) && result.retransmits == 0, "\(run.limit)")
            let stats = try lab.stats("stats-\(run.limit)")
            #expect(stats.planes.contains("shape") && stats.download.dropped_packets == 0)
            _ = try run.server.wait()
        }
        #expect(try isGoneSoon(before))
    }

    @Test(arguments: [false, true])
    func `nothing is left on the devices when the run is killed`(_ isClsactTheirs: Bool) throws {
        if isClsactTheirs { _ = try near("tc", "qdisc", "add", "dev", "veth0", "clsact") }
        let before = try listing()
        let server = try Iperf3.server(in: network.far, lab)
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 30, "-R")
        let child = try lab.start(network.near.entry + throttle("--down", "2M") + client)
        #expect(poll { (try? queues()) == 1 && (try? leadingPrograms(beside: []))?.isEmpty == false })
        let ours = try leadingPrograms(beside: [])
        #expect(!ours.isEmpty)
        child.send(SIGKILL)
        #expect(try child.wait().ending == .killed(SIGKILL))
        // The guard stays until the command has ended.
        #expect(try queues() == 1)
        let run = "\(lab.cgroup.path)/throttle-\(child.pid)/run"
        for pid in TestCgroup.processes(of: run) { kill(pid, SIGKILL) }
        #expect(try isGoneSoon(before))
        lab.helpers.killAll()
        _ = try server.wait()
        #expect(bpftool.areFreed(ours))
    }

    /// The queue goes then, and police holds it.
    @Test func `limit holds when the guard is killed`() throws {
        let server = try Iperf3.server(in: network.far, lab)
        let words = throttle("--down", "2M", "--stats=json", "--stats-file", "stats")
        let client = Iperf3.client(NetworkPair.farAddress, seconds: 3, "-R")
        let child = try lab.start(network.near.entry + words + client)
        #expect(poll { (try? leadingPrograms(beside: []))?.isEmpty == false })
        // Besides throttle itself, the only process of the run outside the run's cgroup.
        let guards = lab.cgroup.processes.filter { $0 != child.pid }
        #expect(guards.count == 1)
        kill(try #require(guards.first), SIGKILL)
        let completed = try child.wait()
        #expect(completed.ending == .exited(0))
        #expect(try (0.7...1.15).contains(Iperf3.Result(completed.stdout).bytesPerSecond / 2_000_000))
        let stats = try lab.stats()
        #expect(stats.download.verdict == "throttled")
        #expect(try queues() == 0)
        _ = try server.wait()
    }
}
