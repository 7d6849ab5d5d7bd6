import Devices
import Kernel
import Logging
import Programs

/// The queue that a run's downloads wait in, and what leads them there from each device.
struct DownloadQueue: ~Copyable {
    // Destroyed in this order: the last made goes first.
    private var hooks: [Int32: DeviceHook] = [:]
    private let programs: QueuePrograms
    private let queue: Queue
    private let watch: DeviceWatch
    private let network: NetworkNamespace
    private var control: QueueControl
    private var limit: UInt64
    /// What the lengths of the queue were made for.
    private var size: UInt64
    private var isInUse = false
    private(set) var isWaiting = false
    /// Devices whose packets can't be led through the queue.
    private var refused: Set<Int32> = []
    /// Why the last one that could have been isn't.
    private var refusal: SystemError?
    private var steppedNanoseconds = Host.monotonicNanoseconds
    private let memory: RunMemory
    private let kernel: KernelVersion
    private let log: Logger

    init(
        _ rate: UInt64, _ memory: RunMemory, _ kernel: KernelVersion, _ id: String, _ sweeps: Bool, _ log: Logger
    ) throws {
        let network = try NetworkNamespace.current()
        let watch = try DeviceWatch(in: network)
        if sweeps { removeDeadQueues(log) }
        let queue = try Queue.ofRun(id, in: network, rate: rate, log: log)
        programs = try QueuePrograms(for: queue.device, sharing: memory.maps)
        self.network = network
        self.watch = watch
        self.queue = queue
        self.memory = memory
        self.kernel = kernel
        self.log = log
        control = QueueControl(limit: rate, counting: memory.counting)
        limit = rate
        size = rate
    }

    var watchDescriptor: CInt { watch.descriptor }

    /// Leads downloads through the queue, at this rate in bytes a second.
    mutating func start(_ rate: UInt64) throws(SystemError) {
        if rate != limit {
            limit = rate
            try queue.setRate(control.follow(limit: rate))
        }
        if rate > size + size / 4 || rate < size - size / 4 {
            size = rate
            try queue.resize(rate)
        }
        memory.useQueue(queue.device, largest: Queue.largestPacket(rate: size))
        if isInUse { return }
        isInUse = true
        try hookDevices()
        if hooks.isEmpty {
            throw refusal
                ?? SystemError("shape", "downloads", errno: .noSuchAddressOrDevice, hint: "no device here allows it")
        }
    }

    /// Leads nothing more through the queue. What waits there goes on, unless the queue ends, too: nothing of the run may
    /// be left then.
    mutating func stop() {
        memory.useQueue(0)
        isInUse = false
        isWaiting = false
    }

    /// Takes in what changed since the last step. Fails where somebody removed the queue: what is led there is dropped.
    mutating func step() throws(SystemError) {
        if watch.drain() { try? hookDevices() }
        let statistics = try queue.statistics()
        let waiting = statistics.tcp.queuedBytes + statistics.rest.queuedBytes
        isWaiting = waiting > 0
        let now = Host.monotonicNanoseconds
        let rate = control.step(
            memory.counters(.down), isWaiting: waiting > 0, seconds: Double(now - steppedNanoseconds) / 1e9)
        steppedNanoseconds = now
        if let rate { try? queue.setRate(rate) }
        if waiting > 0 {
            memory.noteQueue(
                delayNanoseconds: UInt64(Double(waiting) / Double(control.rate) * 1e9),
                droppedPackets: statistics.tcp.droppedPackets + statistics.rest.droppedPackets)
        }
    }

    /// Puts the program on every device that has none yet.
    private mutating func hookDevices() throws(SystemError) {
        // A new one each time: it isn't behind on answers that were lost.
        let route = try network.routeSocket()
        let qdiscs = try route.devicesWithIngressQdisc()
        let devices = try route.devices()
        let present = Set(devices.map(\.index))
        hooks = hooks.filter { present.contains($0.key) }
        refused.formIntersection(present)
        for device in devices where device.kind != "ifb" && !device.hasMaster && !isKnown(device) {
            guard device.isEthernet || device.isLoopback else {
                log.info("device \(device.name) can't be shaped (no Ethernet): window and police there")
                refused.insert(device.index)
                continue
            }
            do throws(SystemError) {
                hooks[device.index] = try DeviceHook(
                    device, in: network, to: queue.device, hasQdisc: qdiscs.contains(device.index), kernel, programs,
                    log)
            } catch {
                refusal = error
                log.info("device \(device.name) can't be shaped: \(error)")
                refused.insert(device.index)
            }
        }
    }

    private func isKnown(_ device: Device) -> Bool { hooks[device.index] != nil || refused.contains(device.index) }
}
