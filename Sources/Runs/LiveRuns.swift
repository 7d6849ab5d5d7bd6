import Kernel
import Records
import Units

/// What a live run says of itself: what is needed of its report.
public struct LiveRun: Sendable {
    public let record: RunRecord
    /// nil where nobody answers: its guard was killed, and the limit holds by police alone.
    public let traffic: Traffic?

    /// The part of the report that is read here; throttle-run(1) has the schema.
    public struct Traffic: Decodable, Sendable {
        public struct Direction: Decodable, Sendable {
            public let limit_bytes_per_second: UInt64?
            public let passed_payload_bytes: UInt64
            public let passed_wire_bytes: UInt64
        }

        public struct Group: Decodable, Sendable {
            public let name: String
            public let download_limit_bytes_per_second: UInt64?
            public let upload_limit_bytes_per_second: UInt64?
        }

        public let elapsed_seconds: Double
        public let planes: [String]
        public let count: String
        public let group: Group?
        public let download: Direction
        public let upload: Direction
    }
}

/// The runs that live now and that the caller may see: root all, others their own.
public struct LiveRuns {
    public init() {}

    /// All, in the order of their starts.
    public func all() -> [LiveRun] {
        let answers = collect().map { place in
            (try? place.ask(ControlRequest())) ?? LiveRun(record: place.record, traffic: nil)
        }
        // Those that said nothing may just have ended.
        let records = answers.contains { $0.traffic == nil } ? collect().map(\.record) : []
        return answers.filter { $0.traffic != nil || records.contains($0.record) }
            .sorted { ($0.record.started, $0.record.pid) < ($1.record.started, $1.record.pid) }
    }

    /// The one that `id` means: its id, its name or the process id of its throttle.
    public func find(_ id: String) throws(SetupError) -> Place {
        let found = collect().filter { [$0.record.id, $0.record.name, "\($0.record.pid)"].contains(id) }
        let exact = found.filter { $0.record.id == id }
        if let place = exact.first ?? (found.count == 1 ? found.first : nil) { return place }
        if found.isEmpty { throw SetupError("no run '\(id)' lives here; throttle list shows all") }
        let ids = found.map(\.record.id).joined(separator: ", ")
        throw SetupError("'\(id)' is the name of several runs: give one of the ids \(ids)")
    }

    /// Where a run is reached.
    public struct Place {
        let directory: RecordDirectory
        let file: String
        public let record: RunRecord

        /// What the run answers, as text.
        public func say(_ request: ControlRequest) throws(SetupError) -> String {
            let answer = try setting { () throws(SystemError) in try directory.ask(file, request) }
            return String(decoding: answer, as: UTF8.self)
        }

        /// What the run answers, as its report.
        public func ask(_ request: ControlRequest) throws(SetupError) -> LiveRun {
            guard let traffic: LiveRun.Traffic = decoded(Array(try say(request).utf8)) else {
                throw SetupError("the run \(record.id) answered what is no report")
            }
            return LiveRun(record: record, traffic: traffic)
        }
    }

    private func collect() -> [Place] {
        var places: [Place] = []
        RecordDirectory.forEach { directory in
            places += directory.live().map { Place(directory: directory, file: $0.name, record: $0.1) }
        }
        return places
    }
}
