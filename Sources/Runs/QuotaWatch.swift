import Glibc
import Kernel
import Logging
import Programs
import Units

/// Ends a command that has moved as much as it may, as timeout(1) ends one that takes too long.
struct QuotaWatch {
    /// Between two looks. Nothing more passes meanwhile.
    static let milliseconds: CInt = 100

    private let killAfter: TimeSpan?
    private let log: Logger
    /// When the command was told to end; nil: it wasn't yet.
    private var endedAt: UInt64?
    private var isKilled = false

    init(killAfter: TimeSpan?, _ log: Logger) {
        self.killAfter = killAfter
        self.log = log
    }

    var hasEnded: Bool { endedAt != nil }

    mutating func look(at limiter: borrowing Limiter) {
        let now = Host.monotonicNanoseconds
        if let endedAt {
            guard let killAfter, !isKilled, now >= endedAt + killAfter.nanoseconds else { return }
            isKilled = true
            limiter.send(SIGKILL)
        } else if limiter.memory.isQuotaUsedUp, let quota = limiter.memory.quota {
            endedAt = now
            log.error("the quota of \(Scaled(Double(quota), unit: "B")) is used up: the command is ended")
            limiter.send(SIGTERM)
            // One that is stopped couldn't end.
            limiter.send(SIGCONT)
        }
    }
}
