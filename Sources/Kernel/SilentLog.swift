import Logging

extension Logger {
    /// Says nothing.
    public static let silent = Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }
}
