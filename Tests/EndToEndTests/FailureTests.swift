import Foundation
import Testing

/// Set-up that fails half way: nothing of it stays.
@Suite struct FailureTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    /// With few descriptors each step fails once, from the first file that is opened to the start of the command.
    @Test(arguments: ["link", "legacy"])
    func `every step that runs out of descriptors is undone`(_ method: String) throws {
        var endings: [Ending] = []
        for count in 3...56 {
            let completed = try lab.run(
                ["prlimit", "--nofile=\(count)"] + throttle("-d", "50k", "--attach", method) + ["sh", "-c", "exit 7"])
            endings.append(completed.ending)
            #expect(completed.stdout == "", "\(count)")
            // The guard may run out of them beside the command, which is said.
            let ended = "throttle: the guard process was ended: "
            let rests = ["downloads don't wait in a queue any more\n", "only police holds the limits\n"]
            let isSilent = ([""] + rests.map { ended + $0 }).contains(completed.stderr)
            #expect(completed.ending == .exited(125) || isSilent, "\(count): \(completed.stderr)")
            #expect(lab.cgroup.children == [], "\(count)")
        }
        #expect(endings.first == .exited(125) && endings.last == .exited(7))
        #expect(endings.allSatisfy { [.exited(125), .exited(7)].contains($0) })
        // Once there are enough, more change nothing.
        #expect(endings == endings.filter { $0 == .exited(125) } + endings.filter { $0 == .exited(7) })
    }

    @Test(arguments: ["cgroup.max.depth", "cgroup.max.descendants"], ["0", "1"])
    func `cgroup that may not be made gives 125 and leaves nothing`(_ file: String, _ limit: String) throws {
        try limit.write(toFile: "\(lab.cgroup.path)/\(file)", atomically: false, encoding: .utf8)
        let completed = try lab.run(throttle("-d", "50k") + ["touch", "ran"])
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr.contains("can't create") && completed.stderr.contains(lab.cgroup.path))
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(lab.cgroup.children == [])
    }

    /// A threaded cgroup takes no processes into new cgroups below it.
    @Test func `caller in a threaded cgroup gets 125 and nothing is left`() throws {
        let threaded = try TestCgroup("threaded", in: lab.cgroup.path)
        try "threaded".write(toFile: "\(threaded.path)/cgroup.type", atomically: false, encoding: .utf8)
        let script = #"echo $$ >"$0/cgroup.threads" || exit 99; exec "$@""#
        let words = ["sh", "-c", script, threaded.path] + throttle("-d", "50k") + ["touch", "ran"]
        let completed = try lab.run(words)
        #expect(completed.ending == .exited(125))
        #expect(completed.stderr.split(separator: "\n").count == 1)
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
        #expect(threaded.children == [])
    }

    @Test func `report that cannot be written does not change the status`() throws {
        for (script, ending) in [("exit 5", Ending.exited(5)), ("kill -USR1 $$", .killed(SIGUSR1))] {
            let completed = try lab.run(throttle("-d", "50k", "--stats-file", "/dev/full") + ["sh", "-c", script])
            #expect(completed.ending == ending)
            #expect(completed.stderr.contains("/dev/full"))
        }
    }
}
