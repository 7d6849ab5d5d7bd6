import Glibc
import Kernel
import Testing

@testable import throttle

/// Runs the built binary with words as a shell reads them.
private func throttle(_ words: String) throws -> (status: CInt, output: String) {
    let binary = Host.executablePath.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/throttle"
    let stream = try #require(popen("env -u THROTTLE_DOWN -u THROTTLE_UP '\(binary)' \(words)", "r"))
    var bytes: [UInt8] = []
    while case let byte = fgetc(stream), byte != EOF { bytes.append(UInt8(truncatingIfNeeded: byte)) }
    return (pclose(stream) >> 8 & 0xff, String(decoding: bytes, as: UTF8.self))
}

@Suite struct CommandLineTests {
    @Test(arguments: [
        "run", "-d 50k", "-d 50x true", "--foo true", "true", "-d 50k --mode pace true", "-d 50k --stats=xml true",
        "-d 50k --stats-file /no/such/dir/f true", "-d 50k --cgroup-parent /tmp true", "-d", "-d 50k -q -v true",
        "--profile no-such true",
        "--quota 0 true", "--rtt 11s true", "--background --mode police true",
    ])
    func `our own failures are status 125, told in standard error alone`(words: String) throws {
        let (status, output) = try throttle(words + " 2>/dev/null")
        #expect(status == 125)
        #expect(output.isEmpty)
        let both = try throttle(words + " 2>&1")
        #expect(both.output.hasPrefix("throttle: "))
        #expect(both.output.hasSuffix("\n"))
    }

    @Test(arguments: ["--stats -d 50k", "-d 50k --stats", "run --stats --down 50k", "-d 50k --stats --"])
    func `bare stats takes no value`(words: String) throws {
        #expect(try throttle(words + " 2>&1").output.contains("No command to run"))
    }

    @Test func `a word after bare stats is the command`() throws {
        #expect(try throttle("--stats json -d 50k 2>&1").output.contains("No limit given"))
    }

    @Test(arguments: [
        "--help", "-h", "help", "help run", "help doctor", "doctor --help", "run --help", "run -h", "-d 50k --help",
        "profiles --help",
    ])
    func `help is printed and is no failure`(words: String) throws {
        let (status, output) = try throttle(words + " 2>/dev/null")
        #expect(status == 0)
        #expect(output.contains("USAGE: throttle"))
    }

    @Test func `the version is printed`() throws {
        let (status, output) = try throttle("--version")
        #expect(status == 0)
        #expect(output == version + "\n")
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func `completions are printed`(shell: String) throws {
        let (status, output) = try throttle("--generate-completion-script \(shell)")
        #expect(status == 0)
        #expect(output.contains("throttle"))
        #expect(output.contains("cgroup-parent"))
    }

    @Test func `profiles are printed, and their names alone`() throws {
        let (status, table) = try throttle("profiles")
        #expect(status == 0 && table.hasPrefix("NAME "))
        let names = try throttle("profiles --names").output.split(separator: "\n")
        #expect(names.contains("3g") && names.count == table.split(separator: "\n").count - 1)
        let json = try throttle("profiles --json").output
        #expect(json.hasPrefix(#"{"profiles":["#) && json.hasSuffix("}\n"))
        #expect(json.contains(#""name":"3g","rtt_seconds":0.15,"#))
    }

    @Test func `a word that is no subcommand starts a run`() throws {
        #expect(try throttle("runner 2>&1").output.contains("No limit given"))
        #expect(try throttle("-- help 2>&1").output.contains("No limit given"))
        for word in ["help=1", "--version=1", "-h=1", "run=1"] { #expect(Main.normalized([word]) == ["run", word]) }
    }
}
