import Control
import Groups
import Kernel
import Programs
import Records
import Reports
import SystemPackage
import Units

/// What it takes to join a group: what its live runs share, or the rates to begin it with. While this lives, nobody else
/// joins one.
final class GroupEntry {
    fileprivate let name: String
    fileprivate let rates: Rates
    fileprivate var table: CInt = -1
    /// nil where the group has no live runs.
    private var map: CInt?
    private let lock: GroupRecords

    /// nil where the caller runs in the group already, whose budget would be charged twice.
    init?(_ plan: RunPlan, from cgroup: String, _ records: RecordDirectory?) throws(SetupError) {
        guard let name = plan.group else { return nil }
        guard let records else { throw SetupError("can't join group '\(name)': runs can't be recorded here") }
        let lock = try setting { () throws(SystemError) in try GroupRecords(of: records) }
        if records.members(of: name).contains(where: { cgroup.hasPrefix($0.1.cgroup + "/") }) { return nil }
        let record = lock.find(name)
        rates =
            record.map { Rates(bytesPerSecond: ($0.down, $0.up)) } ?? plan.rates
        self.name = name
        self.lock = lock
        let (answer, silent) = records.ask(group: name) { try? records.askToJoin($0) }
        if let answer {
            (map, table) = answer
            return
        }
        if let first = silent.first {
            throw SetupError(
                "can't join group '\(name)': its run \(first.id) doesn't answer; end it, or use another group")
        }
        if record == nil && rates == .unlimited {
            throw SetupError(
                "there is no group '\(name)': give --down or --up to begin one, or use throttle group create \(name)")
        }
    }

    deinit {
        if let map { _ = Descriptor(owning: map) }
        if table >= 0 { _ = Descriptor(owning: table) }
    }

    /// For `RunMemory`.
    var budget: GroupBudget { map.map { .shared($0) } ?? .new }

    fileprivate var isFirst: Bool { map == nil }

    fileprivate func takeTable() throws(SystemError) -> GroupTable {
        if table < 0 { return try GroupTable() }
        defer { table = -1 }
        return try GroupTable(sharing: Descriptor(owning: table))
    }
}

/// A run's part in its group. Each run tells its own share from what all say that they want; nobody rules.
final class Membership {
    /// A run that has just joined is taken for one that wants all: others make room before it needs it.
    private static let welcome: UInt64 = 500_000_000
    private static let step: UInt64 = 50_000_000
    /// As of a run of its own; then, for each run, two segments more.
    private static let burst = (nanoseconds: RunPlan().burst.nanoseconds, bytes: 2.0 * 1514)

    let name: String
    private let memory: RunMemory
    private let budget: GroupMemory
    private let table: GroupTable
    private let owner: UInt64
    private var seat: Int
    private var demands = [Demand(passed: 0), Demand(passed: 0)]
    private var refused: [UInt64] = [0, 0]
    private let joined = Host.monotonicNanoseconds
    private var stepped = Host.monotonicNanoseconds
    private var isLeft = false

    /// `budget`: that of the run's memory.
    init(_ entry: GroupEntry, _ memory: RunMemory, _ budget: GroupMemory) throws(SystemError) {
        name = entry.name
        self.memory = memory
        self.budget = budget
        table = try entry.takeTable()
        // Nobody else joins at that time.
        owner = joined
        guard let seat = table.sit(owner) else {
            throw SystemError("join", "group '\(entry.name)'", errno: .resourceBusy, hint: "it has 1024 runs")
        }
        self.seat = seat
        if entry.isFirst { budget.rates = entry.rates }
    }

    deinit {
        leave()
    }

    /// Takes the run out of the group.
    func leave() {
        if !isLeft { table.leave(seat, owner) }
        isLeft = true
    }

    /// Takes our hands off: another process keeps the run in the group.
    func handOver() { isLeft = true }

    /// What another run needs to join.
    var descriptors: [CInt] { [budget.descriptor.rawValue, table.descriptor.rawValue] }

    /// The group, for a report.
    var report: GroupReport {
        GroupReport(name: name, rates: budget.rates, runs: table.demands(besides: seat).count + 1)
    }

    /// Says what the run wants, every so often. Returns whether it is time to look at what it may have.
    /// `isWaiting`: whether packets of a direction wait in its queue.
    func step(isWaiting: (Direction) -> Bool) -> Bool {
        let now = Host.monotonicNanoseconds
        guard now - stepped >= Membership.step else { return false }
        let seconds = Double(now - stepped) / 1e9
        stepped = now
        let (rates, asked) = (memory.rates, memory.asked)
        let wanted = Direction.allCases.map { direction in
            let counters = memory.counters(direction)
            let wasRefused = counters.droppedPackets + counters.deferredPackets > refused[direction.rawValue]
            refused[direction.rawValue] = counters.droppedPackets + counters.deferredPackets
            let demand = demands[direction.rawValue].step(
                passed: counters.passedBytes(memory.counting), isHeld: wasRefused || isWaiting(direction),
                share: rates[direction].bytesPerSecond ?? .max, seconds: seconds)
            return min(now < joined + Membership.welcome ? Demand.all : demand, asked[direction].bytesPerSecond ?? .max)
        }
        say(wanted[0], wanted[1])
        return true
    }

    private func say(_ down: UInt64, _ up: UInt64, within lease: UInt64 = 0) {
        if !table.say(down, up, at: seat, owner, within: lease), let another = table.sit(owner) { seat = another }
    }

    /// How long a run that rests keeps its seat without a word, in ns.
    static let rest: UInt64 = 10_000_000_000

    /// Says that the run wants nothing, for as long as it moves nothing.
    func sleep() { say(0, 0, within: Membership.rest + 2_000_000_000) }

    /// The next step is of what passes from now on.
    func wake() { stepped = Host.monotonicNanoseconds }

    /// What the run may use now: its share, and no more than was asked for.
    var share: Rates {
        let others = table.demands(besides: seat)
        let rates = budget.rates
        return memory.asked.capped(
            by: Rates(down: share(.down, of: rates, others.map(\.down)), up: share(.up, of: rates, others.map(\.up))))
    }

    private func share(_ direction: Direction, of rates: Rates, _ others: [UInt64]) -> Rate {
        guard let rate = rates[direction].bytesPerSecond else { return .unlimited }
        let burst =
            Double(Membership.burst.nanoseconds)
            + Double(others.count + 1) * Membership.burst.bytes / Double(rate) * 1e9
        budget.setBurst(direction, nanoseconds: UInt64(min(burst, 1e18)))
        // What has passed is to stay a quarter of the burst ahead of the clock: where it isn't, some use less than they
        // said; where it is more, packets would be refused before long.
        let lead = Double(budget.lead(direction)) / burst
        let correction = max(-0.3, min((0.25 - lead) * 0.4, others.isEmpty ? 0 : 0.1))
        let corrected = UInt64(min(Double(rate) * (1 + correction), 9e18))
        return Rate(bytesPerSecond: fairShare(of: corrected, besides: others))
    }
}
