import Glibc
import Kernel
import Programs

/// The live line of --progress on standard error: drawn over itself on a terminal, else a line now and then.
final class Progress {
    private var line: ProgressLine
    private let isTerminal: Bool
    private let began = Host.monotonicNanoseconds
    private var isDrawn = false

    init() {
        isTerminal = isatty(2) == 1
        let isPlain = Progress.variable("TERM") == "dumb" || Progress.variable("NO_COLOR") != nil
        line = ProgressLine(.init(isUnicode: Progress.isUnicode, hasColor: isTerminal && !isPlain))
    }

    /// Between two looks.
    var milliseconds: CInt { isTerminal ? 500 : 5000 }

    /// Shows how far the run is.
    func show(_ flows: [ProgressLine.Flow]) {
        line.take(flows, seconds: Double(Host.monotonicNanoseconds - began) / 1e9)
        guard isTerminal else { return write("throttle: \(line.sentence)\n") }
        // In the background the terminal is somebody else's.
        guard tcgetpgrp(2) == getpgrp() else { return }
        // Back to the start of the line, so that what the command writes goes over it.
        write("\r\(line.text(width: Progress.width - 1))\u{1b}[K\r")
        isDrawn = true
    }

    /// Takes the line away.
    func erase() {
        if isDrawn && tcgetpgrp(2) == getpgrp() { write("\r\u{1b}[K") }
        isDrawn = false
    }

    private func write(_ text: String) {
        let standardError = Descriptor(owning: 2)
        try? standardError.write(text)
        _ = standardError.release()
    }

    /// Of the terminal, in columns.
    private static var width: Int {
        var size = winsize()
        return ioctl(2, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    private static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// Whether the locale's character set is UTF-8 (locale(7)).
    private static var isUnicode: Bool {
        let locale = variable("LC_ALL") ?? variable("LC_CTYPE") ?? variable("LANG") ?? ""
        return ["utf-8", "utf8"].contains {
            locale.lowercased().hasSuffix($0) || locale.lowercased().contains("\($0)@")
        }
    }
}
