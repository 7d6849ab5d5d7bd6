/// How much one run wants to use in one direction, told from what it used and whether its share held it back.
package struct Demand: Sendable {
    /// As much as it can get.
    package static let all = UInt64.max
    /// A run that uses so much of its share may want more.
    private static let held = 0.9
    /// What a run that uses less may use more before long.
    private static let growth = 1.1
    /// Seconds that a rate is averaged over, and packets of Ethernet, whichever takes longer.
    private static let memory = (seconds: 0.2, bytes: 4.0 * 1514)

    private var passed: UInt64
    private var average = 0.0

    /// `passed`: bytes so far.
    package init(passed: UInt64) {
        self.passed = passed
    }

    /// Takes in what has passed until now, `seconds` after the last time. `isHeld`: whether something waits or was refused.
    /// Returns the demand in bytes per second.
    package mutating func step(passed: UInt64, isHeld: Bool, share: UInt64, seconds: Double) -> UInt64 {
        let rate = Double(passed - min(self.passed, passed)) / max(seconds, 1e-3)
        self.passed = passed
        let memory = max(Demand.memory.seconds, Demand.memory.bytes / Double(share))
        average += (rate - average) * min(1, seconds / memory)
        let used = max(rate, average)
        return isHeld || used >= Demand.held * Double(share) ? Demand.all : UInt64(used * Demand.growth)
    }
}
