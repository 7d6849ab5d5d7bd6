import Foundation
import Testing

/// What a run stands on is taken away by others: cgroups, devices, its queue, its network namespace.
@Suite struct VanishingTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private func devices(_ namespace: Namespace) throws -> Int {
        try lab.require(["ip", "-n", namespace.name, "-o", "link"]).split(separator: "\n").count
    }

    @Test(arguments: [false, true])
    func `device that goes during a transfer costs nothing but the transfer`(isFilter: Bool) throws {
        let network = try NetworkPair(lab)
        let near = network.near.name
        if isFilter { try lab.require(["tc", "-n", near, "qdisc", "add", "dev", "veth0", "clsact"]) }
        let server = try FileServer(in: network.far, lab, bytes: 3_000_000)
        let script = "curl -sS --max-time 2 -o copy \(server.url(NetworkPair.farAddress)); exit 7"
        let child = try lab.start(network.near.entry + throttle("-d", "500k") + ["sh", "-c", script])
        #expect(poll { (try? lab.content("copy").count) ?? 0 > 200_000 })
        #expect(try devices(network.near) == 3)
        try lab.require(["ip", "-n", near, "link", "delete", "veth0"])
        let completed = try child.wait()
        #expect(completed.ending == .exited(7) && !completed.stderr.contains("throttle:"), "\(completed.stderr)")
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
        #expect(try devices(network.near) == 1)
    }

    @Test(arguments: [[], ["--group", "vanishing-\(getpid())"]])
    func queueThatSomebodyRemovesIsReportedAndTheTransferGoesOn(_ options: [String]) throws {
        let namespace = try Namespace(lab)
        let server = try FileServer(in: namespace, lab, bytes: 300_000)
        let fetching = "echo ready; curl -sSf -o copy \(server.url("127.0.0.1"))"
        let words = [throttlePath, "run", "-d", "100k", "--mode", "shape"] + options + ["--", "sh", "-c", fetching]
        let child = try lab.start(namespace.entry + words)
        #expect(poll { (try? lab.content("copy").count) ?? 0 > 50_000 })
        try lab.require(["ip", "-n", namespace.name, "link", "delete", "thr-\(child.pid)"])
        let completed = try child.wait()
        #expect(completed.ending == .exited(0) && completed.seconds > 2)
        #expect(try lab.content("copy") == server.content)
        let lines = completed.stderr.split(separator: "\n")
        #expect(lines.count == 1 && lines.first?.contains("downloads don't wait in a queue any more: ") == true)
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
        #expect(try devices(namespace) == 1)
    }

    /// The run itself must say so at its end, as throttle stats does meanwhile.
    @Test func `queue that is lost is no plane of the last report`() throws {
        let namespace = try Namespace(lab)
        let words = throttle("-d", "50k", "--mode", "shape", "--stats=json", "--stats-file", "stats")
        let child = try lab.start(namespace.entry + words + ["sh", "-c", "echo ready; read x"], input: .pipe)
        try child.waitForOutput("ready")
        // Its guard sleeps by then.
        usleep(800_000)
        try lab.require(["ip", "-n", namespace.name, "link", "delete", "thr-\(child.pid)"])
        let asking = [throttlePath, "stats", "\(child.pid)", "--json"]
        #expect(poll { (try? Stats(lab.require(asking)))?.planes == ["police", "window"] })
        let during = try Stats(lab.require(asking))
        child.closeInput()
        _ = try child.wait()
        let stats = try lab.stats()
        #expect(stats.planes == ["police", "window"] && stats.shape_obstacle != nil)
        #expect(stats.shape_obstacle == during.shape_obstacle)
    }

    @Test func `network namespace that is deleted lives as long as the run`() throws {
        let namespace = try Namespace(lab)
        let words = throttle("-d", "50k", "--mode", "shape") + ["sh", "-c", "echo ready; read x; exit 3"]
        let child = try lab.start(namespace.entry + words, input: .pipe)
        try child.waitForOutput("ready")
        try lab.require(["ip", "netns", "delete", namespace.name])
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(3) && completed.stderr == "")
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    /// strace(1) has the run wait between opening the cgroup and making its own there.
    @Test func `cgroup parent that is removed meanwhile gives 125`() throws {
        let parent = try TestCgroup("parent", in: lab.cgroup.path)
        let delaying = ["-e", "trace=mkdirat", "-e", "inject=mkdirat:delay_enter=500000:when=2"]
        let child = try lab.start(
            ["strace", "-D", "-qq", "-o", "/dev/null"] + delaying
                + throttle("-d", "50k", "--cgroup-parent", parent.path) + ["touch", "ran"])
        #expect(poll { isOpen(parent.path, in: child.pid) })
        #expect(rmdir(parent.path) == 0)
        let completed = try child.wait()
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr == "throttle: can't create a cgroup in \(parent.path): No such file or directory\n")
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    private func isOpen(_ path: String, in process: pid_t) -> Bool {
        let folder = "/proc/\(process)/fd"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.contains {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")) == path
        }
    }

    /// It counts as the command's, so the guard waits for its end.
    @Test func `foreign process in a cgroup of the commands is waited for by the guard`() throws {
        let (child, foreigner) = try startWithForeigner(in: "run/theirs")
        child.closeInput()
        let completed = try child.wait()
        #expect(completed.ending == .exited(3) && completed.stderr == "")
        #expect(lab.cgroup.runs == ["throttle-\(child.pid)"])
        foreigner.send(SIGKILL)
        #expect(poll { lab.cgroup.children == [] && lab.cgroup.processes == [] })
    }

    /// No command gets there by itself. The run says that it must leave the cgroup, and the next one sweeps it.
    @Test func `foreign process in the runs parent cgroup is reported`() throws {
        let (child, foreigner) = try startWithForeigner(in: "")
        child.closeInput()
        let completed = try child.wait()
        let cgroup = "\(lab.cgroup.path)/throttle-\(child.pid)"
        #expect(completed.ending == .exited(3))
        #expect(completed.stderr == "throttle: can't remove cgroup \(cgroup): Device or resource busy\n")
        #expect(poll { lab.cgroup.processes == [] })
        foreigner.send(SIGKILL)
        _ = try foreigner.wait()
        try lab.require(throttle("-d", "50k") + ["true"])
        #expect(lab.cgroup.children == [])
    }

    /// A run that waits, and a process of ours that was moved to a cgroup in it.
    private func startWithForeigner(in name: String) throws -> (Child, Child) {
        let foreigner = try lab.start(["sleep", "60"], in: lab.helpers)
        let words = throttle("-d", "50k") + ["sh", "-c", "echo ready; read x; exit 3"]
        let child = try lab.start(words, input: .pipe)
        try child.waitForOutput("ready")
        let path = "\(lab.cgroup.path)/throttle-\(child.pid)/\(name)"
        _ = mkdir(path, 0o755)
        try "\(foreigner.pid)".write(toFile: "\(path)/cgroup.procs", atomically: false, encoding: .utf8)
        return (child, foreigner)
    }
}
