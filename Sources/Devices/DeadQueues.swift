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

    /// What there is; with `isRemoving`, removed, or with the reason why not.
    public func leftovers(isRemoving: Bool) -> [Leftover] {
        filters.map { filter in
            var found = Leftover(.filter, "\(filter.handle) of \(filter.device.name)")
            if isRemoving { found.failure = remove(filter).map { "\($0)" } }
            return found
        }
            + devices.map { device in
                var found = Leftover(.device, device.name)
                if isRemoving { found.failure = remove(device).map { "\($0)" } }
                return found
            }
    }

    private func remove(_ filter: IngressFilter) -> SystemError? {
        var failure: SystemError?
        do throws(SystemError) {
            try IngressPlace(of: filter) { _, _ in }.leave {
                do throws(SystemError) { try filter.remove() } catch { failure = error }
            }
        } catch {
            failure = error
        }
        return failure
    }

    private func remove(_ device: Device) -> SystemError? {
        do throws(SystemError) {
            try RouteSocket().remove(device.index, named: device.name)
            return nil
        } catch {
            return error
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
