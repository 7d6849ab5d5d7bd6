import Glibc
import Kernel
import Programs
import Records
import Reports
import Units

/// A group of runs, as it is now.
package struct RunGroup: Sendable {
    package let name: String
    /// nil where they can't be told: it wasn't created, and none of its runs answers, as their guards were killed.
    package let rates: Rates?
    /// How many live.
    package let runs: Int
    /// Whether it was created to stay.
    package let stays: Bool
}

/// The groups of the caller.
package struct RunGroups: ~Copyable {
    private let records: RecordDirectory
    /// Nobody joins or changes a group meanwhile.
    private let created: GroupRecords

    package init() throws(SetupError) {
        let records = try setting { () throws(SystemError) in try RecordDirectory.ofCaller() }
        created = try setting { () throws(SystemError) in try GroupRecords(of: records) }
        self.records = records
    }

    package func all() -> [RunGroup] {
        let created = created.all
        let live = Set(records.live().records.compactMap(\.1.group)).subtracting(created.map(\.name)).sorted()
        return created.compactMap { group($0.name, $0) } + live.compactMap { group($0, nil) }
    }

    /// Their names alone, for which nobody is asked.
    package func names() -> [String] {
        Set(created.all.map(\.name) + records.live().records.compactMap(\.1.group)).sorted()
    }

    /// Makes a group that stays. Fails if there is one.
    package func create(_ name: String, down: Rate, up: Rate) throws(SetupError) {
        if let group = group(name, created.find(name)) {
            guard let rates = group.rates else {
                throw SetupError(
                    "there is a group '\(name)' already, of which none of the \(group.runs) runs answers: it ends with"
                        + " the last of them")
            }
            throw SetupError(
                "there is a group '\(name)' already: down \(rates.down), up \(rates.up), \(group.runs) runs;"
                    + " throttle set --group \(name) changes it")
        }
        try write(name, down, up)
    }

    /// Removes a group that was created. Its runs, if there are any, keep it until the last ends.
    package func delete(_ name: String) throws(SetupError) {
        guard created.find(name) != nil else {
            throw SetupError("no group '\(name)' was created; throttle group list shows all")
        }
        try setting { () throws(SystemError) in try created.remove(name) }
    }

    /// Changes the rates of a group; nil: the present one stays. Returns what they are then.
    package func set(_ name: String, down: Rate?, up: Rate?) throws(SetupError) -> Rates {
        let record = created.find(name)
        guard let before = group(name, record) else { throw absence(name) }
        guard let rates = before.rates else { throw refusal(name, before.runs) }
        let new = Rates(down: down ?? rates.down, up: up ?? rates.up)
        if before.runs > 0 {
            let request = ControlRequest.setGroup(down: new.down.bytesPerSecond ?? 0, up: new.up.bytesPerSecond ?? 0)
            let (after, silent) = records.ask(group: name) { change(of: $0, request) }
            if let after, after != new { throw refusal(name, before.runs) }
            if !silent.isEmpty { throw refusal(name, silent.count) }
            if after == nil && record == nil { throw absence(name) }
        }
        if record != nil { try write(name, new.down, new.up) }
        return new
    }

    private func write(_ name: String, _ down: Rate, _ up: Rate) throws(SetupError) {
        let record = GroupRecord(name: name, down: down.bytesPerSecond, up: up.bytesPerSecond)
        try setting { () throws(SystemError) in try created.write(record) }
    }

    private func absence(_ name: String) -> SetupError {
        SetupError("there is no group '\(name)'; throttle group list shows all")
    }

    private func refusal(_ name: String, _ runs: Int) -> SetupError {
        SetupError("none of the \(runs) runs in group '\(name)' takes the new limits")
    }

    /// nil where there is none of this name.
    private func group(_ name: String, _ record: GroupRecord?) -> RunGroup? {
        let (answer, _) = records.ask(group: name, patience: 0) { rates(of: $0) }
        // They may just have ended, most likely those that said nothing.
        let runs = records.members(of: name).count
        if record == nil && runs == 0 { return nil }
        let known = answer ?? record.map { Rates(bytesPerSecond: ($0.down, $0.up)) }
        return RunGroup(name: name, rates: known, runs: runs, stays: record != nil)
    }

    /// The rates that its group has then, as a run answers.
    private func change(of run: String, _ request: ControlRequest) -> Rates? {
        guard let answer = try? records.ask(run, request), let change = ControlChange(decoding: answer),
            change.refusal == nil
        else { return nil }
        return Rates(bytesPerSecond: (change.down, change.up))
    }

    /// The rates of its group, as a run answers.
    private func rates(of run: String) -> Rates? {
        guard let answer = try? records.ask(run, .report(asText: false)),
            let group = ReportDocument(decoding: answer)?.group
        else { return nil }
        return Rates(bytesPerSecond: (group.download_limit_bytes_per_second, group.upload_limit_bytes_per_second))
    }
}

extension RecordDirectory {
    /// The live runs of a group, in the order of their starts.
    package func members(of group: String) -> [(name: String, RunRecord)] {
        live().records.filter { $0.1.group == group }.sorted { $0.1.started < $1.1.started }
    }

    /// Asks the runs of a group until one answers. Where none does, those that are left: none, if the last has ended.
    /// `patience`: nanoseconds in which one that is ending, and answers nothing, is to be gone.
    package func ask<Answer>(
        group: String, patience: UInt64 = 3_000_000_000, _ body: (_ record: String) -> Answer?
    ) -> (Answer?, silent: [RunRecord]) {
        let began = Host.monotonicNanoseconds
        var members = members(of: group)
        while !members.isEmpty {
            for member in members { if let answer = body(member.name) { return (answer, []) } }
            if Host.monotonicNanoseconds - began > patience { break }
            usleep(10_000)
            members = self.members(of: group)
        }
        return (nil, members.map(\.1))
    }
}
