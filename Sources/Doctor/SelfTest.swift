import Glibc
import Kernel
import Logging
import Processes
import Programs
import Reports
import Runs
import Units

/// A run like any other, whose command moves bytes over loopback, first in, then out.
enum SelfTest {
    /// Of each direction, in bytes a second.
    static let rate: UInt64 = 2_000_000

    static var plan: RunPlan {
        var plan = RunPlan()
        plan.rates = Rates(down: .bytesPerSecond(rate), up: .bytesPerSecond(rate))
        plan.linger = .kill
        plan.name = "doctor"
        // What dead runs left is to be reported.
        plan.sweep.isOn = false
        return plan
    }

    static func run(
        _ mode: Mode, _ log: Logger, as caller: borrowing Caller
    ) throws(SetupError) -> (Outcome, Report) {
        var plan = plan
        plan.mode = mode
        // Made here, outside the run, so that only the other end of its connections is limited.
        let listener = try setting { () throws(SystemError) in try SelfTransfer.listen() }
        let command = Command(words: ["/proc/self/exe", "doctor", "--transfer", "\(listener.rawValue)"])
        return try Run(plan, command, log: log).execute(as: caller)
    }

    /// What the run proves. Its bounds are wide, as other processes may keep this one waiting.
    static func finding(_ outcome: Outcome, _ report: Report) -> Finding {
        guard outcome == .exited(0) else {
            return Finding(
                .selfTest, .degraded, "no transfer over loopback was possible", advice: "ip link set lo up")
        }
        if let reason = report.reasons.first { return Finding(.selfTest, .broken, "NOT THROTTLED: \(reason)") }
        let directions = [("download", report.down), ("upload", report.up)]
        let level = directions.map { judge($0.1, report) }.reduce(.ok, worse)
        let rates = directions.map { "\($0) \(fixed(ratio($1), digits: 2))x" }.joined(separator: ", ")
        let calls = report.down.counters.programCalls + report.up.counters.programCalls
        let planes = report.planes.map(\.rawValue).sorted().joined(separator: " ")
        return Finding(
            .selfTest, level, "\(rates) of \(report.down.limit), held by \(planes); \(calls) program calls",
            advice: level == .ok ? nil : "try again while the machine is less busy; if that doesn't help, report it")
    }

    private static func judge(_ direction: DirectionReport, _ report: Report) -> Finding.Level {
        let ratio = ratio(direction)
        // Without a queue or pacing, the burst comes on top.
        let isSmooth = report.planes.contains(direction.direction == .down ? .shape : .pace)
        let extra = isSmooth ? 0 : report.burst.seconds / seconds(direction)
        if ratio < 0.5 || ratio > 1.3 + extra { return .broken }
        // The first second of an upload is paced at 0.75 to 1.1 times the limit.
        return ratio < 0.7 || ratio > 1.15 + extra ? .degraded : .ok
    }

    /// Achieved rate over limit, while there was traffic: less than the second that a report averages over.
    private static func ratio(_ direction: DirectionReport) -> Double {
        Double(direction.passedBytes) / seconds(direction) / Double(rate)
    }

    private static func seconds(_ direction: DirectionReport) -> Double {
        Double(max(direction.counters.activeNanoseconds, 100_000_000)) / 1e9
    }

    private static func worse(_ one: Finding.Level, _ other: Finding.Level) -> Finding.Level {
        let order = Finding.Level.allCases
        return order.last { $0 == one || $0 == other } ?? one
    }
}

/// What the command of the self-test does: receives as much as it can over loopback for a while, then sends.
package enum SelfTransfer {
    private static let milliseconds: UInt64 = 700

    /// A socket that `run` takes; the one that execs it hands it on.
    static func listen() throws(SystemError) -> Descriptor {
        let listener = Descriptor(owning: socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener.rawValue, $0, size) }
        }
        if result < 0 || Glibc.listen(listener.rawValue, 2) < 0 { throw SystemError("listen", "on loopback") }
        return listener
    }

    /// Returns whether there were connections.
    package static func run(_ listener: CInt) -> Bool {
        guard let download = connect(to: listener) else { return false }
        move(from: download.far, to: download.near)
        // Else its data would go on, and delay what comes next.
        close(download.near)
        close(download.far)
        guard let upload = connect(to: listener) else { return false }
        move(from: upload.near, to: upload.far)
        return true
    }

    private static func move(from sender: CInt, to receiver: CInt) {
        let end = Host.monotonicNanoseconds + milliseconds * 1_000_000
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while Host.monotonicNanoseconds < end {
            _ = send(sender, buffer, buffer.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
            while recv(receiver, &buffer, buffer.count, CInt(MSG_DONTWAIT)) > 0 {}
            usleep(1000)
        }
    }

    /// A connection from here to `listener`.
    private static func connect(to listener: CInt) -> (near: CInt, far: CInt)? {
        var address = sockaddr()
        var size = socklen_t(MemoryLayout<sockaddr>.size)
        let near = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        guard getsockname(listener, &address, &size) == 0, Glibc.connect(near, &address, size) == 0 else { return nil }
        let far = accept(listener, nil, nil)
        return far < 0 ? nil : (near, far)
    }
}
