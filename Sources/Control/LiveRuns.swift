import Glibc
import Kernel
import Programs
import Records
import Reports
import Units

/// What a live run says of itself.
package struct LiveRun: Sendable {
    /// What it is called by: see `LiveRuns.find`.
    package let id: String
    /// Whose it is.
    package let user: uid_t
    package let record: RunRecord
    /// nil where nobody answers: its guard was killed, and the limit holds by police alone.
    package let report: ReportDocument?
}

/// The runs that live now and that the caller may see: root all, others their own.
package struct LiveRuns {
    package init() {}

    /// How long `all` waits for answers, in milliseconds: of runs that live, they take a few.
    private static let patience: UInt64 = 1500

    /// All, in the order of their starts. `complain` hears of directories that hold more than is looked at.
    package func all(_ complain: (String) -> Void = { _ in }) -> [LiveRun] {
        let places = collect(complain)
        var reports = [ReportDocument?](repeating: nil, count: places.count)
        ask(places.map { ($0.directory, $0.file) }, .report(asText: false), milliseconds: LiveRuns.patience) {
            reports[$0] = ReportDocument(decoding: $1)
        }
        // Those that said nothing may just have ended.
        let records = reports.contains { $0 == nil } ? collect().map(\.record) : []
        return zip(places, reports)
            .filter { place, report in report != nil || records.contains(place.record) }
            .map { $0.run($1) }
            .sorted { ($0.record.started, $0.record.pid) < ($1.record.started, $1.record.pid) }
    }

    /// The one that `id` means: its id, its name or the process id of its throttle. A run of another user has that user's id
    /// and a slash in front: it chose its name, and must not take the place of one of the caller's own.
    package func find(_ id: String) throws(SetupError) -> Place {
        let all = collect()
        let matching = all.filter { place in place.names.contains(id) }
        let own = matching.filter(\.directory.isOwn)
        let found = own.isEmpty ? matching : own
        let exact = found.filter { $0.id == id }
        if let place = exact.first ?? (found.count == 1 ? found.first : nil) { return place }
        if found.isEmpty {
            let others = all.filter { $0.names.contains("\($0.directory.owner)/\(id)") }.map(\.id)
            let hint =
                others.isEmpty ? "throttle list shows all" : "of other users there is \(others.joined(separator: ", "))"
            throw SetupError("no run '\(id)' lives here; \(hint)")
        }
        let ids = found.map(\.id).joined(separator: ", ")
        throw SetupError("'\(id)' is the name of several runs: give one of the ids \(ids)")
    }

    /// Where a run is reached.
    package struct Place {
        let directory: RecordDirectory
        let file: String
        package let record: RunRecord

        /// Its file's name; that of another user's run begins with the user: `1000/4711`.
        package var id: String { qualified(file) }

        fileprivate var names: [String] { [file, record.name, "\(record.pid)"].map(qualified) }

        private func qualified(_ name: String) -> String { directory.isOwn ? name : "\(directory.owner)/\(name)" }

        fileprivate func run(_ report: ReportDocument?) -> LiveRun {
            LiveRun(id: id, user: directory.owner, record: record, report: report)
        }

        /// The run's report, as lines for a terminal, whoever wrote them.
        package func report(asText: Bool) throws(SetupError) -> String {
            let answer = try ask(.report(asText: asText))
            if asText { return String(decoding: answer, as: UTF8.self).printableLines }
            guard let report = ReportDocument(decoding: answer) else { throw nonsense }
            return Units.json(report).printableJSON + "\n"
        }

        /// Limits the run to other rates; nil: the present one stays.
        package func set(
            down: Rate?, up: Rate?, _ network: ImpairmentChange? = nil, background: Bool? = nil
        ) throws(SetupError) -> ControlChange {
            let request = ControlRequest.set(
                down: down.map { $0.bytesPerSecond ?? 0 }, up: up.map { $0.bytesPerSecond ?? 0 }, network: network,
                background: background)
            guard let change = ControlChange(decoding: try ask(request)) else { throw nonsense }
            if let refusal = change.refusal { throw SetupError("\(id): \(refusal); its limits stay as they were") }
            return change
        }

        private func ask(_ request: ControlRequest) throws(SetupError) -> [UInt8] {
            try setting { () throws(SystemError) in try directory.ask(file, request) }
        }

        private var nonsense: SetupError { SetupError("the run \(id) answered what is no report") }
    }

    private func collect(_ complain: (String) -> Void = { _ in }) -> [Place] {
        var places: [Place] = []
        RecordDirectory.forEach { directory in
            let (records, isWhole) = directory.live()
            if !isWhole { complain("\(directory.path) holds more than a user's runs: not all of it is looked at") }
            places += records.map { Place(directory: directory, file: $0.name, record: $0.1) }
        }
        return places
    }
}
