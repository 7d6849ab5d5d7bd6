import Glibc
import TestSupport

/// What all fuzzers share. Each runs in a process of its own, so that a crash or a hang fails one test, which names its
/// seed; one after another, as each keeps a CPU busy. THROTTLE_FUZZ_ROUNDS=100 adds 100 new seeds to those that are kept.
enum Fuzzing {
    /// The same at every run. What a new one finds goes into a corpus.
    private static let kept: [UInt64] = [1, 2, 3]
    private static let rounds = getenv("THROTTLE_FUZZ_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 0

    static let seeds = kept + (0..<rounds).map { _ in UInt64.random(in: 4...UInt64(UInt32.max)) }

    /// Calls `body` so many times, one execution each.
    static func run(seed: UInt64, times: Int, _ body: (inout SeededGenerator) throws -> Void) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<times {
            // Kills what hangs.
            alarm(60)
            try body(&random)
        }
        alarm(0)
    }
}

extension SeededGenerator {
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }

    /// One of a corpus, three times in four changed in up to four places.
    mutating func mutated(_ corpus: [[UInt8]], tokens: [[UInt8]] = Corpus.tokens) -> [UInt8] {
        var bytes = pick(corpus)
        if below(4) == 0 { return bytes }
        for _ in 0...below(4) {
            let start = below(bytes.count + 1)
            let end = min(bytes.count, start + below(8))
            switch below(7) {
            case 0: bytes.insert(contentsOf: pick(tokens), at: start)
            case 1: bytes.insert(contentsOf: self.bytes(1 + below(3)), at: start)
            case 2: bytes.removeSubrange(start..<end)
            case 3: bytes.insert(contentsOf: bytes[start..<end], at: start)
            case 4: bytes.removeSubrange(start...)
            case 5: bytes = bytes[..<start] + pick(corpus).suffix(below(20))
            default: if start < bytes.count { bytes[start] ^= 1 << UInt8(below(8)) }
            }
        }
        return bytes
    }
}

/// What random input starts from.
enum Corpus {
    /// Control characters, marks that combine with what is before them, half characters, and what separates fields.
    static let tokens: [[UInt8]] =
        ["\n", "\r\n", "\t", "\0", "\u{1b}[2J", "\u{7f}", "\u{9b}", "\u{301}", "\u{2028}", "\u{202e}", "💥", "İ", "K"]
        .map { Array($0.utf8) } + [[0xff], [0xc3], [0xf0, 0x9f]]
        + ["-", "--", "=", "/", "..", "/../", " ", "\\040", "0", "9999999999999999999999", "'", "\"", "{", "[", ","]
        .map { Array($0.utf8) }

    static let options = [
        "--down", "--up", "-d", "-u", "--burst", "--count", "--mode", "--linger", "--attach", "--cgroup-parent",
        "--name", "--stats", "--stats-file", "--best-effort", "-v", "--verbose", "--debug", "-q", "--quiet",
        "--rtt", "--jitter", "--loss", "--profile", "--quota", "--kill-after", "--background", "--no-background",
    ]
    static let values = [
        "50k", "1.5M", "512KiB/s", "800kbit", "unlimited", "0", "-1", "1e9", "nan", "99999999T", "200ms", "1s", "0.5us",
        "payload", "wire", "auto", "shape", "police", "keep", "wait", "release", "kill", "link", "legacy", "text",
        "json", "job.1", "/sys/fs/cgroup", "../..", "", "10s", "1%", "0.5", "100%", "500M", "200MiB", "3g", "satellite",
    ]
    static let words = [
        "run", "help", "-h", "--help", "--version", "--generate-completion-script", "--", "-", "---", "-=", "--=",
        "true", "-vq", "--stats=json", "--down=50k", "-d50k", "--no-down", "--experimental-dump-help", "é",
    ]

    static func bytes(_ texts: [String]) -> [[UInt8]] { texts.map { Array($0.utf8) } }
}
