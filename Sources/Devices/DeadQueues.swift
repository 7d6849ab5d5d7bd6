import Kernel
import SystemPackage

/// What runs left in this network namespace that died without taking it down: their queues, and the filters that
/// lead there.
public struct DeadQueues: Sendable {
    /// The queues' devices.
    public let devices: [Device]
    private let filters: [IngressFilter]

    /// Looks for them. `filterName` is what filters of ours are named.
    public init(filterName: String) throws(SystemError) {
        let route = try RouteSocket()
        var filters: [IngressFilter] = []
        let places = try route.devicesWithIngressQdisc()
        if !places.isEmpty {
            for device in try route.devices() where places.contains(device.index) {
                filters += try IngressFilter.all(on: device, named: filterName)
            }
        }
        // After the filters, so that each queue that a live one leads to is among them.
        let all = try route.devices()
        let dead = all.filter { $0.isQueue && !QueueClaim.isTaken($0.name) }
        let alive = Set(all.map(\.index)).subtracting(dead.map(\.index))
        self.filters = filters.filter { !alive.contains(Int32(bitPattern: $0.handle)) }
        devices = dead
    }

    /// What there is, in words.
    public var described: [String] {
        filters.map { "filter \($0.handle) of device \($0.device.name)" } + devices.map { "device \($0.name)" }
    }

    /// Removes all of it.
    public func remove(log: @escaping UndoLog) {
        for filter in filters {
            let subject = "filter \(filter.handle) of device \(filter.device.name), left by a dead run"
            guard let place = try? IngressPlace(of: filter, log: log) else { continue }
            place.leave { report(subject, log) { () throws(SystemError) in try filter.remove() } }
        }
        for device in devices {
            report("device \(device.name), left by a dead run", log) { () throws(SystemError) in
                try RouteSocket().remove(device.index, named: device.name)
            }
        }
    }

    private func report(_ subject: String, _ log: UndoLog, _ remove: () throws(SystemError) -> Void) {
        do throws(SystemError) {
            try remove()
            log("removed \(subject)", false)
        } catch {
            log("\(error)", true)
        }
    }
}

extension Device {
    /// Whether it has a name as our queues have; one that was cut short has no alias yet.
    fileprivate var isQueue: Bool {
        kind == "ifb" && name.hasPrefix(Queue.namePrefix) && (alias ?? Queue.alias) == Queue.alias
            && name.dropFirst(Queue.namePrefix.count).allSatisfy { $0.isASCII && ($0.isNumber || $0 == "-") }
    }
}
