import CKernel
import Glibc
import Kernel
import Logging
import SystemPackage
import Units

/// Log lines on standard error, each with our name in front.
struct StandardErrorHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let text = (event.level == .debug ? "debug: " : "") + "\(event.message)".printable
        Host.tell("throttle: \(text)\n")
    }
}

extension Logger {
    init(label: String, level: Logger.Level) {
        self.init(label: label) { _ in StandardErrorHandler(logLevel: level) }
    }

    /// Prints the last lines of all, whatever the level.
    func lines(_ text: String) {
        for line in text.split(separator: "\n") { Host.tell("throttle: \(line)\n", isLast: true) }
    }
}

/// A file that a report goes to.
struct OutputFile: ~Copyable {
    private let descriptor: Descriptor
    private let path: String

    /// Opens or creates the file; its content stays until there is a new one.
    init(_ path: String) throws {
        let file = try Host.withCallersRights {
            try attempting("open", path) { () throws(Errno) in
                try Descriptor(opening: path, O_WRONLY | O_CREAT, mode: 0o666)
            }
        }
        // A report is nothing to set the kernel by.
        if [Int64(PROC_SUPER_MAGIC), Int64(SYSFS_MAGIC)].contains(kernel_filesystem_type(file.rawValue)) {
            throw SystemError("write a report to", path, errno: .notSupported)
        }
        descriptor = file
        self.path = path
    }

    func replace(with text: String) throws {
        try Host.withCallersRights {
            // Fails on a pipe or a device, which has nothing to cut.
            _ = ftruncate(descriptor.rawValue, 0)
            // Which may be a terminal, too.
            let bytes = Array(text.utf8)
            if kernel_write_patiently(descriptor.rawValue, bytes, bytes.count, 10_000) < 0 {
                throw SystemError("write", path)
            }
        }
    }
}
