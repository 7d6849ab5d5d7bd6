import CPrograms
import SystemPackage

/// The kernel didn't take our programs.
package struct LoadError: Error, CustomStringConvertible {
    /// What the call that failed said.
    package let errno: Errno
    /// Everything that libbpf and the verifier said.
    package let log: [String]

    init(errno: Errno) {
        self.errno = errno
        log = LibBPFLog.lines
    }

    package var description: String {
        switch errno {
        case .noFunction: "can't load BPF programs: this kernel is built without BPF (CONFIG_BPF_SYSCALL)"
        case .notPermitted: "can't load BPF programs: \(errno); BPF is locked down here, or RLIMIT_MEMLOCK is too low"
        default: "can't load BPF programs: \(errno)" + log.suffix(8).map { "; \($0)" }.joined()
        }
    }
}

/// Collects what libbpf would print.
enum LibBPFLog {
    // Only one thread loads objects, and hears of it.
    nonisolated(unsafe) private static var text: [UInt8] = []

    static var lines: [String] {
        String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    static func start() {
        text = []
        programs_log { text, size in LibBPFLog.text += UnsafeRawBufferPointer(start: text, count: size) }
    }
}
