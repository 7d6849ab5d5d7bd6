import Glibc
import Kernel
import SystemPackage

/// What runs left in a network namespace that died without taking it down: their queues, and the filters that
/// lead there.
package struct DeadQueues: Sendable {
    /// The queues' devices.
    package let devices: [Device]
    private let network: NetworkNamespace
    private let filters: [DeviceFilter]
    /// Queues whose names are taken, so that they may be in use, but by whom `isRecorded` doesn't know.
    private let held: [Leftover]

    /// Looks for them. `filterNames` are what filters of ours are named. A queue lives while its name is taken. But any user
    /// can take that of a dead run: where `isRecorded` is given, and doesn't know the run as one that lives, it is looked for
    /// who has the name, which takes long. The queue lives if that is the user that its device shows.
    package init(
        in network: NetworkNamespace, filterNames: [String], isRecorded: ((_ run: String, uid_t?) -> Bool)? = nil
    ) throws(SystemError) {
        let route = try network.routeSocket()
        var filters: [DeviceFilter] = []
        let places = try route.devicesWithIngressQdisc()
        if !places.isEmpty {
            for device in try route.devices() where places.contains(device.index) {
                for side in Side.allCases {
                    filters += try DeviceFilter.all(on: device, side, in: network, named: filterNames)
                }
            }
        }
        // After the filters, so that each queue that a live one leads to is among them.
        let all = try route.devices()
        var held: [Leftover] = []
        let dead = all.filter { device in
            guard device.isQueue() else { return false }
            if !QueueClaim.isTaken(device.name, in: network) { return true }
            let label = device.queueLabel
            if isRecorded?(label?.run ?? "", label?.user) != false { return false }
            let holders = QueueClaim.holders(of: device.name, in: network)
            if let user = label?.user, !holders.isEmpty, !holders.contains(where: { $0.user == user }) { return true }
            held.append(Leftover(heldBy: holders, device))
            return false
        }
        let alive = Set(all.map(\.index)).subtracting(dead.map(\.index))
        self.network = network
        self.filters = filters.filter { !alive.contains(Int32(bitPattern: $0.handle)) }
        devices = dead
        self.held = held
    }

    /// What there is; with `isRemoving`, removed, or with the reason why not.
    package func leftovers(isRemoving: Bool) -> [Leftover] {
        filters.map { filter in
            var found = Leftover(.filter, "\(filter.handle) of \(filter.device.name)")
            if isRemoving { found.failure = remove(filter).map { "\($0)" } }
            return found
        }
            + devices.map { device in
                var found = Leftover(.device, device.name)
                if isRemoving { found.failure = remove(device).map { "\($0)" } }
                return found
            } + held
    }

    private func remove(_ filter: DeviceFilter) -> SystemError? {
        var failure: SystemError?
        do throws(SystemError) {
            try FilterPlace(of: filter, log: .silent).leave {
                do throws(SystemError) { try filter.remove() } catch { failure = error }
            }
        } catch {
            failure = error
        }
        return failure
    }

    private func remove(_ device: Device) -> SystemError? {
        do throws(SystemError) {
            try network.routeSocket().remove(device.index, named: device.name)
            return nil
        } catch {
            return error
        }
    }
}

extension Leftover {
    fileprivate init(heldBy holders: [(process: pid_t, user: uid_t)], _ device: Device) {
        self.init(.device, device.name)
        let names = Set(holders.map { "process \($0.process) of user \($0.user)" }).sorted().joined(separator: ", ")
        let holder = names.isEmpty ? "a process that can't be seen from here" : names
        kept = "no run of it is recorded, but its name is held by \(holder)"
    }
}
