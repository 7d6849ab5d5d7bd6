import Glibc
import Kernel
import Programs

/// The live line of --progress on standard error: in a terminal's last row, else a line now and then.
package final class Progress {
    private var line: ProgressLine
    private let isTerminal: Bool
    private let began = Host.monotonicNanoseconds
    /// The rows of the terminal when it was last drawn; nil: it isn't there.
    private var rows: Int?

    package init() {
        isTerminal = isatty(2) == 1 && (Host.variable("TERM") ?? "dumb") != "dumb"
        let hasColor = isTerminal && Host.variable("NO_COLOR") == nil
        line = ProgressLine(.init(isUnicode: Progress.isUnicode, hasColor: hasColor))
    }

    /// Between two looks.
    package var milliseconds: CInt { isTerminal ? 500 : 5000 }

    /// Shows how far the run is.
    package func show(_ flows: [ProgressLine.Flow]) {
        line.take(flows, seconds: Double(Host.monotonicNanoseconds - began) / 1e9)
        guard isTerminal else { return Host.tell("throttle: \(line.sentence)\n") }
        guard isForeground, let size = Host.terminalSize(of: 2), size.rows > 2 else { return }
        // One column less: behind the last, terminals differ.
        let text = line.text(width: size.columns - 1)
        Host.tell(
            makingRoom(size.rows) + Progress.inRow(size.rows, "\u{1b}[1;\(size.rows - 1)r", "\u{1b}[m\(text)\u{1b}[K"))
        rows = size.rows
    }

    /// Takes the line away.
    package func erase() {
        guard let drawn = rows, isForeground else { return }
        let size = Host.terminalSize(of: 2)?.rows ?? drawn
        Host.tell((size == drawn ? "" : "\u{1b}[J") + Progress.inRow(size, "\u{1b}[r", "\u{1b}[K"))
        rows = nil
    }

    /// What frees the last row: the screen scrolls if the cursor is in it. A new size has moved the line elsewhere.
    private func makingRoom(_ size: Int) -> String {
        if size == rows { return "" }
        return (rows == nil ? "" : "\u{1b}[J") + "\u{1b}7\u{1b}[r\u{1b}8\u{1b}D\u{1b}[A"
    }

    /// Sets the rows that scroll, writes in that row, and returns to where the command writes: its lines stay whole.
    private static func inRow(_ row: Int, _ region: String, _ text: String) -> String {
        "\u{1b}7\(region)\u{1b}[\(row);1H\(text)\u{1b}8"
    }

    /// In the background the terminal is somebody else's.
    private var isForeground: Bool { tcgetpgrp(2) == getpgrp() }

    /// Whether the locale's character set is UTF-8 (locale(7)).
    private static var isUnicode: Bool {
        let locale = Host.variable("LC_ALL") ?? Host.variable("LC_CTYPE") ?? Host.variable("LANG") ?? ""
        return ["utf-8", "utf8"].contains {
            locale.lowercased().prefix { $0 != "@" }.hasSuffix($0)
        }
    }
}
