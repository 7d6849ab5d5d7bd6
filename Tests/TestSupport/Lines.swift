import Logging

/// Keeps the lines that are logged, each with its level in front.
package final class Lines: @unchecked Sendable {
    package var all: [String] = []

    package init() {}

    package var log: Logger {
        Logger(label: "test") { _ in Handler(lines: self) }
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var logLevel = Logger.Level.debug
        var metadata: Logger.Metadata = [:]

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            lines.all.append("\(event.level): \(event.message)")
        }
    }
}
