import Foundation
import Testing

/// What a caller learns from the status, and that the wrapper is silent.
@Suite struct StatusTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    @Test(arguments: [0, 1, 2, 7, 64, 77, 124, 125, 126, 127, 128, 129, 130, 143, 200, 254, 255])
    func `exit code is the commands`(_ code: CInt) throws {
        let completed = try lab.run(throttle("--down", "50k") + ["sh", "-c", "exit \(code)"])
        #expect(completed.ending == .exited(code))
        #expect(completed.stdout == "" && completed.stderr == "")
        #expect(lab.cgroup.runs == [])
    }

    @Test(
        arguments: [
            SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2,
            SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSYS, 34, 64,
        ])
    func `parent sees the signal that killed the command`(_ signal: CInt) throws {
        let completed = try lab.run(throttle("--down", "50k") + ["sh", "-c", "kill -\(signal) $$"])
        #expect(completed.ending == .killed(signal))
        #expect(completed.stdout == "" && completed.stderr == "")
        #expect(lab.cgroup.runs == [])
    }

    /// The kernel doesn't let default actions end process 1, so it says by its status what shells say.
    @Test func `process one of a pid namespace relays too or names the signal`() throws {
        let first = ["unshare", "--pid", "--fork", "--mount-proc"] + throttle("-d", "50k")
        #expect(try lab.run(first + ["sh", "-c", "exit 7"]).ending == .exited(7))
        #expect(try lab.run(first + ["sh", "-c", "kill -TERM $$"]).ending == .exited(128 + SIGTERM))
        #expect(lab.cgroup.runs == [])
    }

    @Test func `command that is not found gives 127`() throws {
        for name in ["no-such-command-here", "./missing", "/missing/too"] {
            let completed = try lab.run(throttle("--down", "50k") + [name])
            #expect(completed.ending == .exited(127))
            #expect(completed.stderr.contains(name) && completed.stderr.contains("No such file"))
            #expect(completed.stdout == "")
        }
        #expect(lab.cgroup.runs == [])
    }

    @Test func `command that cannot be executed gives 126`() throws {
        try lab.write("not executable", to: "plain")
        try lab.writeExecutable("\u{1}\u{2}", to: "binary")
        try lab.writeExecutable("#!/missing/interpreter\n", to: "script")
        for word in ["./plain", lab.folder, "/dev/null"] {
            let completed = try lab.run(throttle("--down", "50k") + [word])
            #expect(completed.ending == .exited(126), "\(word)")
            #expect(completed.stderr.contains(word))
        }
        // As env has it: the interpreter is what is missing.
        for word in ["./script", "./binary"] {
            let plain = try lab.run(["env", word])
            let completed = try lab.run(throttle("--down", "50k") + [word])
            #expect(completed.ending == plain.ending, "\(word)")
        }
        #expect(lab.cgroup.runs == [])
    }

    @Test func `script without interpreter line runs as with env`() throws {
        try lab.writeExecutable("echo \"$0\" \"$@\"; exit 3\n", to: "script")
        let plain = try lab.run(["env", "./script", "a", "b c"])
        let completed = try lab.run(throttle("--down", "50k") + ["./script", "a", "b c"])
        #expect(completed.ending == plain.ending && completed.stdout == plain.stdout)
        #expect(completed.ending == .exited(3) && completed.stdout == "./script a b c\n")
    }

    /// Neither a cgroup nor an output file nor the command's own effects may come of a bad command line.
    @Test(
        arguments: [
            ["run"], ["run", "--down", "50k"], ["run", "--down", "50k", "--"], ["--down", "50k"],
            ["run", "--down", "0", "touch", "ran"], ["run", "--down", "-5", "touch", "ran"],
            ["run", "--down=-5k", "touch", "ran"], ["run", "--down", "nan", "touch", "ran"],
            ["run", "--down", "inf", "touch", "ran"], ["run", "--down", "1e3", "touch", "ran"],
            ["run", "--down", "50x", "touch", "ran"], ["run", "--down", "", "touch", "ran"],
            ["run", "--down", "99999999999999999999", "touch", "ran"], ["run", "--up", "9e99T", "touch", "ran"],
            ["run", "--up", "10000000T", "touch", "ran"], ["run", "touch", "ran"], ["touch", "ran"],
            ["run", "--no-such-option", "--down", "50k", "touch", "ran"],
            ["run", "--down", "50k", "--mode", "pace", "touch", "ran"],
            ["run", "--down", "50k", "--mode", "magic", "touch", "ran"],
            ["run", "--down", "50k", "--attach", "glue", "touch", "ran"],
            ["run", "--down", "50k", "--count", "beans", "touch", "ran"],
            ["run", "--down", "50k", "--burst", "0", "touch", "ran"],
            ["run", "--down", "50k", "--burst", "61s", "touch", "ran"],
            ["run", "--down", "50k", "--stats=xml", "touch", "ran"],
            ["run", "--down", "50k", "--name", "a/b", "touch", "ran"],
            ["run", "--down", "50k", "-q", "-v", "touch", "ran"],
            ["run", "--down", "50k", "--stats-file", "/missing/folder/stats", "touch", "ran"],
        ])
    func `bad command line gives 125 and touches nothing`(_ words: [String]) throws {
        let completed = try lab.watchingForCgroups { try lab.run([throttlePath] + words) }
        #expect(completed.value.ending == .exited(125))
        #expect(completed.value.stdout == "")
        #expect(completed.value.stderr.hasPrefix("throttle: "))
        #expect(completed.made == [])
        #expect(access("\(lab.folder)/ran", F_OK) != 0)
    }

    @Test func `nothing at all is a usage error`() throws {
        let completed = try lab.run([throttlePath])
        #expect(completed.ending == .exited(125) && completed.stdout == "")
    }

    @Test func `bad rate in the environment gives 125 and names the variable`() throws {
        for variable in ["THROTTLE_DOWN", "THROTTLE_UP"] {
            let completed = try lab.run([throttlePath, "true"], environment: [variable: "fast"])
            #expect(completed.ending == .exited(125))
            #expect(completed.stderr.contains(variable) && completed.stderr.contains("fast"))
        }
    }

    @Test func `watching sees the cgroup of a good run`() throws {
        let completed = try lab.watchingForCgroups { try lab.run(throttle("--down", "50k") + ["true"]) }
        #expect(completed.made.count == 1)
    }

    @Test func `environment gives defaults and options win`() throws {
        let environment = ["THROTTLE_DOWN": "10k", "THROTTLE_UP": "20k"]
        let defaults = try lab.run([throttlePath, "--stats=json", "true"], environment: environment)
        #expect(try Stats(defaults.stderr).download.limit_bytes_per_second == 10_000)
        #expect(try Stats(defaults.stderr).upload.limit_bytes_per_second == 20_000)
        let words = [throttlePath, "--stats=json", "--down", "3k", "true"]
        let options = try lab.run(words, environment: environment)
        #expect(try Stats(options.stderr).download.limit_bytes_per_second == 3_000)
        #expect(try Stats(options.stderr).upload.limit_bytes_per_second == 20_000)
    }
}
