import Testing
import Units

@testable import Reports

/// What --progress shows, as text.
@Suite struct ProgressLineTests {
    private static let slow = Rate(bytesPerSecond: 500_000)
    private static let none = Rate.unlimited

    /// A line that took in what passed each half second.
    private func line(
        _ bytes: [(down: UInt64, up: UInt64)], _ limits: (Rate, Rate) = (slow, none),
        _ style: ProgressLine.Style = .init(isUnicode: false)
    ) -> ProgressLine {
        var line = ProgressLine(style)
        for (index, bytes) in bytes.enumerated() {
            let flows = [
                ProgressLine.Flow(bytes: bytes.down, limit: limits.0), .init(bytes: bytes.up, limit: limits.1),
            ]
            line.take(flows, seconds: Double(index + 1) / 2)
        }
        return line
    }

    /// Without colours.
    private func plain(_ text: String) -> String { text.replacing(/\x1b\[[0-9]*m/, with: "") }

    private let steady = (1...12).map { (down: UInt64($0) * 240_000, up: UInt64($0) * 500) }

    @Test func `a wide line has everything`() {
        let unicode = line(steady, style: .init(isUnicode: true)).text(width: 200)
        #expect(unicode == "↓ 480.0 of 500.0 kB/s [██████████] 2.9 MB  ↑ 1.0 kB/s [██████████] 6.0 kB  0:06")
        let ascii = line(steady).text(width: 200)
        #expect(ascii == "down 480.0 of 500.0 kB/s [##########] 2.9 MB  up 1.0 kB/s [##########] 6.0 kB  0:06")
    }

    private func line(_ bytes: [(down: UInt64, up: UInt64)], style: ProgressLine.Style) -> ProgressLine {
        line(bytes, (ProgressLineTests.slow, ProgressLineTests.none), style)
    }

    @Test func `parts are left out in order`() {
        let line = line(steady)
        var texts: [String] = []
        for width in (0...200).reversed() where texts.last != line.text(width: width) {
            texts.append(line.text(width: width))
        }
        #expect(
            texts.prefix(4) == [
                "down 480.0 of 500.0 kB/s [##########] 2.9 MB  up 1.0 kB/s [##########] 6.0 kB  0:06",
                "down 480.0 of 500.0 kB/s [##########]  up 1.0 kB/s [##########]  0:06",
                "down 480.0 of 500.0 kB/s  up 1.0 kB/s  0:06",
                "down 480.0 kB/s  up 1.0 kB/s  0:06",
            ])
        #expect(texts.last == "")
    }

    @Test(arguments: [true, false], [true, false])
    func `no line is wider than asked for, and colours take no room`(isUnicode: Bool, hasColor: Bool) {
        let extremes: [UInt64] = [0, 1, 999_950, 1 << 62, .max]
        for limit in [1, 500_000, 1 << 62].map(Rate.init(bytesPerSecond:)) + [.unlimited] {
            for bytes in extremes {
                let flows = [(down: 0, up: bytes), (down: bytes, up: 0), (down: bytes, up: bytes)]
                let colored = line(flows, (limit, limit), .init(isUnicode: isUnicode, hasColor: hasColor))
                let bare = line(flows, (limit, limit), .init(isUnicode: isUnicode))
                for width in 0...200 {
                    let text = colored.text(width: width)
                    #expect(plain(text).unicodeScalars.count <= width && plain(text) == bare.text(width: width))
                    #expect(isUnicode || text.unicodeScalars.allSatisfy(\.isASCII))
                }
                #expect(hasColor == colored.text(width: 200).contains("\u{1b}"))
                #expect(!colored.sentence.contains("\u{1b}"))
            }
        }
    }

    @Test func `a rate close to its limit is yellow, others are green`() {
        let style = ProgressLine.Style(isUnicode: false, hasColor: true)
        let text = line(steady, style: style).text(width: 200)
        #expect(text.contains("\u{1b}[33m480.0 of 500.0 kB/s\u{1b}[0m") && text.contains("\u{1b}[32m1.0 kB/s\u{1b}[0m"))
    }

    @Test func `rates are averaged over a second`() {
        #expect(line([(100_000, 0), (300_000, 0)]).text(width: 200).hasPrefix("down 300.0 of 500.0 kB/s"))
        #expect(line([(900_000, 0), (1_000_000, 0), (1_000_000, 0)]).text(width: 200).hasPrefix("down 100.0 of"))
        // Counters never fall; if they did, nothing passed.
        #expect(line([(1000, 0), (0, 0), (0, 0)]).text(width: 200).hasPrefix("down 0.0 of 500.0 kB/s"))
    }

    @Test func `the graph shows ten looks against the limit`() {
        let down = [0, 50_000, 100_000, 225_000, 475_000].map { (down: UInt64($0), up: UInt64(0)) }
        #expect(line(down).text(width: 200).contains("[      ::=#]"))
        #expect(line((0..<30).map { _ in (0, 0) }).text(width: 200).contains("[          ]"))
    }

    @Test func `limits may change and go`() {
        var line = line(steady)
        line.take(
            [.init(bytes: 2_880_000, limit: .unlimited), .init(bytes: 6000, limit: .init(bytesPerSecond: 20_000))],
            seconds: 6.5)
        let text = line.text(width: 200)
        #expect(text.hasPrefix("down 240.0 kB/s [") && text.contains("up 0.5 of 20.0 kB/s ["))
    }

    @Test(arguments: [
        (0.5, "0:00"), (59.99, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (3661, "1:01:01"),
        (36_000, "10:00:00"), (90_061, "25:01:01"),
    ])
    func `the clock has hours when there are some`(seconds: Double, text: String) {
        var line = ProgressLine(.init(isUnicode: false))
        line.take([.init(bytes: 0, limit: .unlimited), .init(bytes: 0, limit: .unlimited)], seconds: seconds)
        #expect(line.text(width: 200).hasSuffix("  \(text)"))
    }

    @Test func `a log gets sentences`() {
        #expect(
            line(steady).sentence
                == "0:06: download 480.0 of 500.0 kB/s, 2.9 MB in all; upload 1.0 kB/s, 6.0 kB in all")
    }
}
