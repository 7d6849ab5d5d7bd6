import Processes
import Programs
import Reports
import Units

/// The report of a run that has begun, with limits.
package func makeReport(
    down: Rate = .unlimited, up: Rate = .unlimited, counting: Counting = .payload, name: String? = "wget"
) -> Report {
    let words = Command(lastWords: 1).words
    var subject = Report.Subject(command: words, name: name ?? words[0], mode: .auto, linger: .keep)
    (subject.id, subject.method) = ("4711", .link)
    let burst = TimeSpan(nanoseconds: 200_000_000)
    return Report(subject, Limits(Rates(down: down, up: up), burst: burst, counting: counting))
}

extension Counters {
    /// The run's program passed and dropped this many packets of 1000 bytes; the witness saw `witness`.
    package init(passed: UInt64, dropped: UInt64 = 0, witness: UInt64? = nil, exempt: UInt64 = 0, seconds: Double = 1) {
        self.init()
        exemptPackets = exempt
        exemptBytes = exempt * 1052
        passedPackets = passed
        passedPayloadBytes = passed * 1000
        passedWireBytes = passed * 1066
        droppedPackets = dropped
        droppedPayloadBytes = dropped * 1000
        activeNanoseconds = UInt64(seconds * 1e9)
        witnessPackets = witness
        witnessBytes = witness.map { $0 * 1052 }
    }
}
