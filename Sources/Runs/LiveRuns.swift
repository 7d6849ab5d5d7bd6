import Glibc
import Kernel
import Programs
import Records
import Units

/// What a live run says of itself: what is needed of its report.
public struct LiveRun: Sendable {
    /// What it is called by: see `LiveRuns.find`.
    public let id: String
    /// Whose it is.
    public let user: uid_t
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

        /// nil where that is no run's report: the run's user may have made it up.
        init?(decoding bytes: [UInt8]) {
            guard let report: Traffic = decoded(bytes), report.isPlausible else { return nil }
            self = report
        }

        private var isPlausible: Bool {
            let limits = [
                download.limit_bytes_per_second, upload.limit_bytes_per_second,
                group?.download_limit_bytes_per_second, group?.upload_limit_bytes_per_second,
            ]
            return (0...1e10).contains(elapsed_seconds) && planes.allSatisfy(\.isPlainName)
                && Counting(rawValue: count) != nil && group?.name.isPlainName != false
                && limits.allSatisfy { (1...UInt64(Int64.max)).contains($0 ?? 1) }
        }
    }
}

/// The runs that live now and that the caller may see: root all, others their own.
public struct LiveRuns {
    public init() {}

    /// How long `all` waits for answers, in milliseconds: of runs that live, they take a few.
    private static let patience: UInt64 = 1500

    /// All, in the order of their starts. `complain` hears of directories that hold more than is looked at.
    public func all(_ complain: (String) -> Void = { _ in }) -> [LiveRun] {
        let places = collect(complain)
        var traffic = [LiveRun.Traffic?](repeating: nil, count: places.count)
        ask(places.map { ($0.directory, $0.file) }, ControlRequest(), milliseconds: LiveRuns.patience) {
            traffic[$0] = LiveRun.Traffic(decoding: $1)
        }
        // Those that said nothing may just have ended.
        let records = traffic.contains { $0 == nil } ? collect().map(\.record) : []
        return zip(places, traffic)
            .filter { place, traffic in traffic != nil || records.contains(place.record) }
            .map { $0.run($1) }
            .sorted { ($0.record.started, $0.record.pid) < ($1.record.started, $1.record.pid) }
    }

    /// The one that `id` means: its id, its name or the process id of its throttle. A run of another user has that user's id
    /// and a slash in front: it chose its name, and must not take the place of one of the caller's own.
    public func find(_ id: String) throws(SetupError) -> Place {
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
    public struct Place {
        let directory: RecordDirectory
        let file: String
        public let record: RunRecord

        /// Its file's name; that of another user's run begins with the user: `1000/4711`.
        public var id: String { qualified(file) }

        fileprivate var names: [String] { [file, record.name, "\(record.pid)"].map(qualified) }

        private func qualified(_ name: String) -> String { directory.isOwn ? name : "\(directory.owner)/\(name)" }

        fileprivate func run(_ traffic: LiveRun.Traffic?) -> LiveRun {
            LiveRun(id: id, user: directory.owner, record: record, traffic: traffic)
        }

        /// What the run answers, as lines for a terminal, whoever wrote them.
        public func say(_ request: ControlRequest) throws(SetupError) -> String {
            let answer = try setting { () throws(SystemError) in try directory.ask(file, request) }
            let text = String(decoding: answer, as: UTF8.self)
            if request.text { return text.printableLines }
            _ = try traffic(answer)
            return (text.hasSuffix("\n") ? String(text.dropLast()) : text).printableJSON + "\n"
        }

        /// What the run answers, as its report.
        public func ask(_ request: ControlRequest) throws(SetupError) -> LiveRun {
            run(try traffic(try setting { () throws(SystemError) in try directory.ask(file, request) }))
        }

        private func traffic(_ answer: [UInt8]) throws(SetupError) -> LiveRun.Traffic {
            guard let traffic = LiveRun.Traffic(decoding: answer) else {
                throw SetupError("the run \(id) answered what is no report")
            }
            return traffic
        }
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
