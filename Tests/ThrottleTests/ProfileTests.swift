import Glibc
import Kernel
import Programs
import Testing
import Units

@testable import throttle

@Suite struct ProfileTests {
    private func only(_ line: String) throws -> Profile {
        let profiles = try Profiles.profiles(in: line, of: "FILE")
        #expect(profiles.count == 1)
        return try #require(profiles.first)
    }

    @Test func `a line has a name, and what it is for in any order`() throws {
        let profile = try only("\ttrain  loss=2%\tup=384kbit jitter=50ms down=1.5M rtt=300ms  # the regional one")
        #expect(profile.name == "train" && profile.source == "FILE")
        #expect(profile.down == .bytesPerSecond(1_500_000) && profile.up == .bytesPerSecond(48_000))
        #expect(profile.impairment.description == "rtt +300ms, jitter 50ms, loss 2%")
    }

    @Test func `each part may be missing, and the last of two counts`() throws {
        let profile = try only("far rtt=1s rtt=2s")
        #expect(profile.down == nil && profile.up == nil && profile.impairment.description == "rtt +2s")
        #expect(try only("as-it-is").impairment == .none)
        #expect(try only("fast down=unlimited").down == .unlimited)
    }

    @Test func `comments and empty lines are none`() throws {
        let text = "# mine\n\n  \t\n#a down=1\nb down=1 # c\n#"
        #expect(try Profiles.profiles(in: text, of: "FILE").map(\.name) == ["b"])
        #expect(try Profiles.profiles(in: "", of: "FILE").isEmpty)
        #expect(try Profiles.profiles(in: "# mine\r\na down=1\r\nb\r\n", of: "FILE").map(\.name) == ["a", "b"])
    }

    @Test(arguments: [
        ("a/b down=1", "'a/b' is not a name"), ("down=1M", "'down=1M' is not a name"),
        ("\u{1b}[2J", "'\u{1b}[2J' is not a name"), ("a down", "'down' is not KEY=VALUE"),
        ("a speed=1", "'speed' is none of down, up, rtt, jitter and loss"),
        ("a =1", "'' is none of down, up, rtt, jitter and loss"), ("a Down=1", "'Down' is none of"),
        ("a down=", "'' is not a rate"), ("a down=1M=2", "'1M=2' is not a rate"), ("a up=0", "'0' is less than 1 byte"),
        ("a rtt=5", "'5' is not a time"), ("a loss=101%", "'101%' is not a percentage"),
        ("a rtt=11s", "--rtt is 10s at most"), ("a rtt=1ms jitter=2ms", "--jitter is at most as long as --rtt"),
    ])
    func `a fault is told with its file and line`(line: String, fault: String) {
        do {
            _ = try Profiles.profiles(in: "# mine\nfine down=1M\n\(line)\n", of: "/etc/throttle/profiles")
            Issue.record("accepted")
        } catch {
            #expect("\(error)".hasPrefix("/etc/throttle/profiles:3: \(fault)"), "\(error)")
        }
    }

    @Test func `names of known ones are plain, each once, and none has a fault`() {
        let names = Profiles.known.map(\.name)
        #expect(Set(names).count == names.count && names.allSatisfy(\.isPlainName))
        #expect(Profiles.known.allSatisfy { $0.impairment.fault == nil && $0.down != nil && $0.up != nil })
        let figures = Profiles.known.first { $0.name == "3g" }
        #expect(figures?.down == .bytesPerSecond(200_000) && figures?.up == .bytesPerSecond(96_000))
        #expect(figures?.impairment.description == "rtt +150ms")
    }

    @Test func `a table shows what there is`() throws {
        let text = ProfilesCommand.table([Profiles.known[0], try only("lossy jitter=1ms rtt=5ms loss=1%")])
        #expect(
            text == """
                NAME         DOWN         UP    RTT  JITTER  LOSS  SOURCE
                3g     200.0 kB/s  96.0 kB/s  150ms       -     -  sitespeed.io
                lossy           -          -    5ms     1ms    1%  FILE
                """)
    }
}

/// The files of a user, each in a process of its own, as the environment is one for the process.
extension ProfileTests {
    @Test func `one's own go before those that are known, and options before both`() async {
        await #expect(processExitsWith: .success) {
            let folder = try ownProfiles("3g down=1M rtt=7ms jitter=3ms\nown loss=3%\n")
            defer { remove(folder) }
            let known = Profiles.known.count
            #expect(try Profiles.all().count >= known + 1)
            #expect(try Profiles.find("3g").source == "\(folder)/throttle/profiles")
            // It isn't mixed with the one of that name.
            #expect(try Profiles.find("3g").up == nil)
            setenv("THROTTLE_UP", "5", 1)
            setenv("THROTTLE_DOWN", "5", 1)
            let run = try parse("--profile", "3g", "true")
            var rates = try run.limits.rates(beside: Profiles.find("3g"))
            #expect(rates == Rates(down: .bytesPerSecond(1_000_000), up: .bytesPerSecond(5)))
            rates = try parse("--profile", "3g", "-d", "2M", "true").limits.rates(beside: Profiles.find("3g"))
            #expect(rates.down == .bytesPerSecond(2_000_000))
            #expect(refusal("--profile", "3g", "--rtt", "2ms", "true")?.contains("at most as long as --rtt") == true)
            #expect(refusal("--profile", "3g", "--rtt", "2ms", "--jitter", "1ms", "true") == nil)
            #expect(refusal("--profile", "own", "--mode", "police", "true")?.contains("--mode police") == true)
            #expect(refusal("--profile", "own", "--loss", "0", "--mode", "police", "true") == nil)
        }
    }

    @Test func `a name that is none is told with those that are`() async {
        await #expect(processExitsWith: .success) {
            let folder = try ownProfiles("own loss=3%\n")
            defer { remove(folder) }
            let message = refusal("--profile", "no-such", "true")
            #expect(message?.contains("'no-such' is no profile: there are 3g, 3gfast, ") == true)
            #expect(message?.contains(", own") == true)
        }
    }

    @Test func `a file with a fault is told, wherever its profiles are asked for`() async {
        await #expect(processExitsWith: .success) {
            let folder = try ownProfiles("own loss=3%\nother speed=1\n")
            defer { remove(folder) }
            #expect(refusal("--profile", "own", "true")?.contains("\(folder)/throttle/profiles:2: 'speed' is") == true)
            #expect(refusal("-d", "1M", "true") == nil)
        }
    }

    @Test func `a file that is too large is refused, not cut`() async {
        await #expect(processExitsWith: .success) {
            let folder = try ownProfiles(String(repeating: "# some line of text\n", count: 4096))
            defer { remove(folder) }
            let error = #expect(throws: (any Error).self) { try Profiles.all() }
            #expect(error.map { "\($0)" } == "can't read \(folder)/throttle/profiles: File too large")
        }
    }

    @Test func `no file is none`() async {
        await #expect(processExitsWith: .success) {
            setenv("XDG_CONFIG_HOME", "/no/such/folder", 1)
            #expect(Profiles.files.last == "/no/such/folder/throttle/profiles")
            let known = try Profiles.find("3g")
            #expect(known.source == "sitespeed.io")
            unsetenv("XDG_CONFIG_HOME")
            setenv("HOME", "/home/alice", 1)
            #expect(Profiles.files == ["/etc/throttle/profiles", "/home/alice/.config/throttle/profiles"])
        }
    }
}

/// Has XDG_CONFIG_HOME be a folder with these profiles. Returns it.
private func ownProfiles(_ text: String) throws -> String {
    let folder = "/tmp/throttle-profiles-\(getpid())"
    mkdir(folder, 0o700)
    mkdir("\(folder)/throttle", 0o700)
    try Descriptor(opening: "\(folder)/throttle/profiles", O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600).write(text)
    setenv("XDG_CONFIG_HOME", folder, 1)
    return folder
}

private func remove(_ folder: String) {
    unlink("\(folder)/throttle/profiles")
    rmdir("\(folder)/throttle")
    rmdir(folder)
}
