import CLibBPF
import Glibc
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
    // libbpf calls back on the thread that calls it, and only one thread does.
    nonisolated(unsafe) private static var text: [UInt8] = []

    static var lines: [String] {
        String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    static func start() {
        text = []
        libbpf_set_print { level, format, arguments in
            guard level != LIBBPF_DEBUG, let format, let arguments else { return 0 }
            // A verifier log is as long as 16 MB; its end is what counts.
            var line = [CChar](repeating: 0, count: 1 << 16)
            let length = vsnprintf(&line, line.count, format, arguments)
            LibBPFLog.text += line.prefix(max(0, min(Int(length), line.count - 1))).map(UInt8.init(bitPattern:))
            return length
        }
    }
}
