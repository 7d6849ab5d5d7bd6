import Programs
import Units

/// What --progress shows, as text.
package struct ProgressLine {
    /// What a terminal can show.
    struct Style: Equatable {
        var isUnicode = true
        var hasColor = false
    }

    /// One direction at one moment.
    package struct Flow: Equatable {
        var bytes: UInt64
        var limit: Rate

        package init(bytes: UInt64, limit: Rate) {
            self.bytes = bytes
            self.limit = limit
        }
    }

    /// As many samples as a graph shows.
    static let graphWidth = 10
    private static let unicodeLevels = Array(" ▁▂▃▄▅▆▇█").map(String.init)
    private static let plainLevels = Array(" .:-=+*#").map(String.init)

    private let style: Style
    private var before: (seconds: Double, flows: [Flow])?
    /// Bytes per second of each direction, the newest last.
    private var rates: [[Double]] = [[], []]
    private var flows: [Flow] = []
    private var seconds = 0.0

    init(_ style: Style) {
        self.style = style
    }

    /// Takes in what passed up to now, `seconds` after the start: down, then up.
    mutating func take(_ flows: [Flow], seconds: Double) {
        let earlier = before ?? (0, flows.map { Flow(bytes: 0, limit: $0.limit) })
        let interval = max(seconds - earlier.seconds, 0.001)
        for index in flows.indices {
            let passed = flows[index].bytes - min(flows[index].bytes, earlier.flows[index].bytes)
            rates[index] = (rates[index] + [Double(passed) / interval]).suffix(ProgressLine.graphWidth)
        }
        before = (seconds, flows)
        self.flows = flows
        self.seconds = seconds
    }

    /// One line for a terminal that is so wide, in columns: what doesn't fit is left out, the least important first.
    func text(width: Int) -> String {
        for parts in [[Part.limit, .graph, .total], [.limit, .graph], [.limit], []] {
            let line = line(parts)
            if line.columns <= width { return line.text }
        }
        return width >= 8 ? String(line([]).plain.prefix(width)) : ""
    }

    /// A line of its own, for a log.
    var sentence: String {
        let directions = zip(["download", "upload"], flows.indices).map { name, index in
            "\(name) \(rate(index, with: true)), \(Scaled(Double(flows[index].bytes), unit: "B")) in all"
        }
        return "\(clock): " + directions.joined(separator: "; ")
    }

    private enum Part {
        case limit, graph, total
    }

    private func line(_ parts: [Part]) -> Painted {
        var line = Painted()
        let marks = style.isUnicode ? ["↓", "↑"] : ["down", "up"]
        for (index, mark) in marks.enumerated() {
            line.add("\(mark) ")
            line.add(rate(index, with: parts.contains(.limit)), color: style.hasColor ? color(index) : nil)
            if parts.contains(.graph) { line.add(" [\(graph(index))]") }
            if parts.contains(.total) { line.add(" \(Scaled(Double(flows[index].bytes), unit: "B"))") }
            line.add("  ")
        }
        line.add(clock)
        return line
    }

    private func rate(_ index: Int, with limit: Bool) -> String {
        guard limit, let most = flows[index].limit.bytesPerSecond else {
            return "\(Scaled(average(index), unit: "B/s"))"
        }
        return "\(Scaled(average(index), of: Double(most), unit: "B/s"))"
    }

    /// Over the last two samples: one alone jumps with each packet of a slow transfer.
    private func average(_ index: Int) -> Double {
        let last = rates[index].suffix(2)
        return last.isEmpty ? 0 : last.reduce(0, +) / Double(last.count)
    }

    /// Yellow at the limit, green below.
    private func color(_ index: Int) -> Int {
        guard let limit = flows[index].limit.bytesPerSecond else { return 32 }
        return average(index) > 0.9 * Double(limit) ? 33 : 32
    }

    /// The last samples against the limit, or against the largest of them where there is none.
    private func graph(_ index: Int) -> String {
        let levels = style.isUnicode ? ProgressLine.unicodeLevels : ProgressLine.plainLevels
        let most = flows[index].limit.bytesPerSecond.map { Double($0) } ?? rates[index].max() ?? 0
        let marks = rates[index].map { rate in
            let level = most > 0 ? rate / most * Double(levels.count - 1) : 0
            return levels[Int(min(level, Double(levels.count - 1)).rounded(.up))]
        }
        return String(repeating: " ", count: ProgressLine.graphWidth - marks.count) + marks.joined()
    }

    private var clock: String {
        let whole = Int(seconds)
        let minutes = whole / 60 % 60
        let tail =
            (minutes < 10 && whole >= 3600 ? "0" : "") + "\(minutes):" + (whole % 60 < 10 ? "0" : "") + "\(whole % 60)"
        return whole < 3600 ? tail : "\(whole / 3600):\(tail)"
    }

    /// Text, with and without its colours.
    private struct Painted {
        var text = ""
        var plain = ""

        /// All characters here are one column wide.
        var columns: Int { plain.unicodeScalars.count }

        mutating func add(_ part: String, color: Int? = nil) {
            plain += part
            text += color.map { "\u{1b}[\($0)m\(part)\u{1b}[0m" } ?? part
        }
    }
}
