import Cgroups
import Devices
import Kernel
import Logging
import Programs
import SystemPackage
import Units

/// What the guard sets up beyond the police, and keeps right. Its scope undoes it. The run's memory tells what is in force,
/// and what is in the way.
package struct Planes: ~Copyable {
    /// Between two looks at queues while something moves, in ns.
    package static let period: UInt64 = 100_000_000

    /// A command may make as many as it likes.
    private static let mostNetworks = 8

    // Destroyed in this order: the last made goes first.
    /// Of each network namespace in which the run receives something, by its cookie; throttle's own is 0.
    private var networks: [UInt64: NetworkPlanes] = [:]
    /// Loaded ahead for the first of the networks.
    private var spare: QueueProgram?
    private var division: QueueDivision?
    private let cgroup: CgroupDirectory
    private let memory: RunMemory
    private let mode: Mode
    private let kernel: KernelVersion
    private let id: String
    private let log: Logger

    /// Each device that the run uses gets its queue by `use`.
    package init(
        _ memory: RunMemory, _ mode: Mode, _ kernel: KernelVersion, _ cgroup: borrowing RunCgroup, _ log: Logger
    ) throws(SystemError) {
        let run = try attempting("open", cgroup.run.path) { () throws(Errno) in try cgroup.run.descriptor.copy() }
        self.cgroup = CgroupDirectory(run, cgroup.run.path)
        self.memory = memory
        self.mode = mode
        self.kernel = kernel
        self.log = log
        id = cgroup.id
        follow()
    }

    /// Loads what the first queue will need.
    package mutating func prepare() {
        if memory.learnsDevices && networks.isEmpty {
            spare = try? QueueProgram(sharing: memory.maps, for: .usual(kernel))
        }
    }

    /// Makes the planes fit the limits. A queue that couldn't be set up, or that was lost, is tried again only if `retries`:
    /// that takes long, and many do this often.
    package mutating func follow(retries: Bool = true) {
        let rates = memory.rates
        if case .bytesPerSecond(let rate) = rates.down {
            if mode != .police && (retries || memory.obstacle == nil) { shape(rate, retries) }
        } else {
            stop()
            memory.obstacle = nil
        }
        tellPlanes()
    }

    private func tellPlanes() {
        memory.tellPlanes(isShaped: !networks.isEmpty)
    }

    /// Holds the queues to a limit, and has new ones made as devices are used. In mode shape, and where the run has used some
    /// before, one is made now.
    private mutating func shape(_ rate: UInt64, _ isAsked: Bool) {
        do {
            if isAsked && networks.isEmpty && (mode == .shape || memory.hasTraffic) { try makeNetwork(0, rate) }
            for network in networks.values { try network.resize(rate) }
            try division?.follow(limit: rate, networks)
            memory.obstacle = nil
            useQueues(rate)
            if !memory.learnsDevices { memory.forget { _ in true } }
            memory.learnsDevices = true
        } catch {
            giveUp(error)
            log.info("not shaped: \(error)")
        }
    }

    private func useQueues(_ rate: UInt64) {
        if !networks.isEmpty { memory.useQueues(true, largest: NetworkPlanes.largestPacket(rate)) }
    }

    /// Does without queues.
    private mutating func giveUp(_ error: any Error) {
        stop()
        networks = [:]
        division = nil
        memory.obstacle = memory.rates.down == .unlimited ? nil : "\(error)"
        tellPlanes()
    }

    /// Whether downloads waited in a queue at the last step.
    package var isWaiting: Bool { networks.values.contains(where: \.isWaiting) }

    /// Readable when devices have changed.
    package var watchDescriptors: [CInt] { networks.values.map(\.watchDescriptor) }

    /// Whether there is a queue to be looked at.
    package var isShaping: Bool { !networks.isEmpty }

    package mutating func step() {
        for (cookie, network) in networks {
            do throws(SystemError) {
                try network.step()
            } catch {
                lose(cookie, error)
            }
        }
        division?.step(networks)
    }

    /// Does without a queue that somebody has removed. In other network namespaces than throttle's the command may do that.
    private mutating func lose(_ cookie: UInt64, _ error: SystemError) {
        if cookie == 0 {
            if memory.planes.contains(.shape) { log.warning("downloads don't wait in a queue any more: \(error)") }
            return giveUp(error)
        }
        log.info("not shaped in another network namespace: \(error)")
        networks[cookie] = nil
        tellPlanes()
    }

    /// Leads nothing more through queues. What waits there goes on, unless they end, too: nothing of the run may be left
    /// then.
    package mutating func stop() {
        memory.leaveQueues()
    }
}

/// Devices that the run uses.
extension Planes {
    /// Has what comes in by a device wait in a queue, as far as that is possible.
    package mutating func use(_ device: UsedDevice) {
        // First of all, connections wait for it.
        defer { memory.settle(device) }
        guard memory.learnsDevices, case .bytesPerSecond(let rate) = memory.rates.down else { return }
        do {
            try makeNetwork(device.network, rate)
        } catch {
            log.info("not shaped\(device.network == 0 ? "" : " in another network namespace"): \(error)")
            if device.network == 0 { giveUp(error) }
            return
        }
        lead(device, rate)
    }

    private mutating func lead(_ device: UsedDevice, _ rate: UInt64) {
        do {
            try networks[device.network]?.hook(device.index)
            memory.obstacle = nil
        } catch {
            log.info("not shaped: \(error)")
            // Where there is nothing for it, it is none; mode shape has made it before it was needed.
            if mode != .shape && networks[device.network]?.hasHooks == false { networks[device.network] = nil }
            if !networks.values.contains(where: \.hasHooks) { memory.obstacle = "\(error)" }
        }
        tellPlanes()
        useQueues(rate)
    }

    private mutating func makeNetwork(_ cookie: UInt64, _ rate: UInt64) throws {
        if networks[cookie] != nil { return }
        if networks.count == Planes.mostNetworks {
            throw SystemError(
                "create", "another queue", errno: .resourceBusy,
                hint: "the run has them in \(networks.count) network namespaces already")
        }
        networks[cookie] = try NetworkPlanes(
            in: try find(cookie), cookie, rate, memory, kernel, id, spare.take(), log)
        if let network = networks[cookie]?.network, cookie != 0 { memory.noteNetwork(network.inode) }
        if division == nil { division = QueueDivision(limit: rate, memory) }
    }

    /// The network namespace that a process of the run is in.
    private func find(_ cookie: UInt64) throws(SystemError) -> NetworkNamespace {
        if cookie == 0 { return try .current() }
        var failure: SystemError?
        var seen: Set<UInt64> = []
        for process in cgroup.allProcesses {
            do throws(SystemError) {
                let network = try NetworkNamespace.of(process: process)
                if seen.insert(network.inode).inserted, try network.cookie() == cookie { return network }
            } catch {
                failure = error
            }
        }
        throw failure ?? SystemError("find", "its network namespace", errno: .noSuchProcess)
    }

    /// Whether some queues are in other network namespaces than throttle's.
    package var hasStrangers: Bool { networks.keys.contains { $0 != 0 } }

    /// Leaves the network namespaces that no process of the run is in any more: we would keep them from their end.
    package mutating func leaveDeserted() {
        if !hasStrangers { return }
        let inhabited = Set(cgroup.allProcesses.compactMap { try? NetworkNamespace.of(process: $0).inode })
        for (cookie, network) in networks where cookie != 0 && !inhabited.contains(network.network.inode) {
            networks[cookie] = nil
            memory.forget { $0.network == cookie }
            log.debug("left a network namespace")
        }
        tellPlanes()
    }
}
