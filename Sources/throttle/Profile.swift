import Glibc
import Kernel
import Programs
import SystemPackage
import Units

/// A network that is known by a name.
struct Profile: Equatable {
    let name: String
    var down: Rate?
    var up: Rate?
    var impairment = Impairment.none
    /// Where its figures are from.
    var source: String

    /// One of kbit/s, and the milliseconds of a round trip.
    fileprivate init(_ name: String, _ down: UInt64, _ up: UInt64, _ rtt: UInt64, _ source: String) {
        self.name = name
        self.down = .bytesPerSecond(down * 125)
        self.up = .bytesPerSecond(up * 125)
        impairment.rtt = TimeSpan(nanoseconds: rtt * 1_000_000)
        self.source = source
    }

    /// One of a file's lines: `NAME down=RATE up=RATE rtt=TIME jitter=TIME loss=PERCENT`, of which each may be missing.
    init(line: Substring, of source: String) throws {
        let words = line.split(whereSeparator: \.isWhitespace)
        name = String(words.first ?? "")
        self.source = source
        guard name.isPlainName else { throw ValidationFault("'\(name)' is not a name") }
        for word in words.dropFirst() {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else { throw ValidationFault("'\(word)' is not KEY=VALUE") }
            switch parts[0] {
            case "down": down = try Rate(parts[1])
            case "up": up = try Rate(parts[1])
            case "rtt": impairment.rtt = try TimeSpan(parts[1])
            case "jitter": impairment.jitter = try TimeSpan(parts[1])
            case "loss": impairment.loss = try Percentage(parts[1])
            default: throw ValidationFault("'\(parts[0])' is none of down, up, rtt, jitter and loss")
            }
        }
        if let fault = impairment.fault { throw ValidationFault(fault) }
    }
}

/// What is wrong with a file that somebody wrote.
private struct ValidationFault: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// The profiles that there are.
enum Profiles {
    /// The figures of WebPageTest's connectivity profiles, which sitespeed.io's throttle and browsertime have, too; of the
    /// network throttling in Chrome's and Firefox's developer tools, without what Chrome adds for a whole request; and a
    /// geostationary satellite's round trip (RFC 2488, 2) at what the FCC called broadband in 2015.
    static let known: [Profile] = [
        Profile("3g", 1600, 768, 150, "sitespeed.io"), Profile("3gfast", 1600, 768, 75, "sitespeed.io"),
        Profile("3gslow", 400, 400, 200, "sitespeed.io"), Profile("2g", 280, 256, 400, "sitespeed.io"),
        Profile("edge", 240, 200, 35, "sitespeed.io"), Profile("cable", 5000, 1000, 14, "sitespeed.io"),
        Profile("dsl", 1500, 384, 14, "sitespeed.io"), Profile("4g", 9000, 9000, 85, "sitespeed.io"),
        Profile("lte", 12000, 12000, 35, "sitespeed.io"), Profile("dial", 49, 30, 60, "sitespeed.io"),
        Profile("slow4g", 1600, 750, 150, "Chrome"), Profile("fast4g", 9000, 1500, 60, "Chrome"),
        Profile("wifi", 30000, 15000, 2, "Firefox"), Profile("satellite", 25000, 3000, 558, "RFC 2488, FCC"),
    ]

    /// Those of the system and of the user, whose own go before others of the same name.
    static var files: [String] {
        let home = Host.variable("XDG_CONFIG_HOME") ?? Host.variable("HOME").map { $0 + "/.config" }
        return ["/etc/throttle/profiles"] + (home.map { [$0 + "/throttle/profiles"] } ?? [])
    }

    /// All, each name once.
    static func all() throws -> [Profile] {
        var profiles = known
        for own in try files.flatMap(read) {
            profiles.removeAll { $0.name == own.name }
            profiles.append(own)
        }
        return profiles
    }

    static func find(_ name: String) throws -> Profile {
        let all = try all()
        if let profile = all.first(where: { $0.name == name }) { return profile }
        let names = all.map(\.name).joined(separator: ", ")
        throw SetupError("'\(name)' is no profile", advice: "there are \(names)", joint: ": ")
    }

    private static let largestFile = 65536

    /// Those of a file; none where there is no file.
    private static func read(_ path: String) throws -> [Profile] {
        let text: String
        do throws(Errno) {
            // Whatever is there isn't waited for.
            let file = try Descriptor(opening: path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
            let bytes = try file.readAll(upTo: largestFile)
            if bytes.count > largestFile { throw Errno.fileTooLarge }
            text = String(decoding: bytes, as: UTF8.self)
        } catch {
            if error == .noSuchFileOrDirectory || error == .notDirectory { return [] }
            throw SystemError("read", path, errno: error)
        }
        return try profiles(in: text, of: path)
    }

    static func profiles(in text: String, of path: String) throws -> [Profile] {
        var profiles: [Profile] = []
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (number, line) in lines.enumerated() {
            let content = line.prefix { $0 != "#" }
            if content.allSatisfy(\.isWhitespace) { continue }
            do {
                profiles.append(try Profile(line: content, of: path))
            } catch {
                throw SetupError("\(path):\(number + 1): \(error)")
            }
        }
        return profiles
    }
}
