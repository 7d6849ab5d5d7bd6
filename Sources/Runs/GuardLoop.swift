import Cgroups
import Control
import Glibc
import Kernel
import Logging
import Planes
import Programs
import Records
import Reports
import SystemPackage
import Units

/// What a guard does while the run lives: keeps its planes right, tells its group what it wants, and answers.
struct GuardLoop: ~Copyable {
    // Destroyed in this order.
    private let control: ControlSocket?
    private var planes: Planes?
    /// nil where the run gives way to nobody.
    private var yielding: Yielding?
    private let events: CgroupEvents
    private let hold: RunHold
    private let life: GuardLife
    private let memory: RunMemory
    private let log: Logger
    private let began = Host.monotonicNanoseconds
    private let alarm: Alarm?
    private let records: RecordDirectory?
    /// nil while it sleeps.
    private var nextLook: UInt64? = Host.monotonicNanoseconds
    /// Whether it was told that no round trip is timed.
    private var isToldBlind = false
    /// When planes are to be looked at again.
    private var nextStep: UInt64 = 0
    /// When it last looked for others that give way, and whether there were some.
    private var others: (at: UInt64, areThere: Bool) = (0, false)
    /// When it last went to sleep, or told its group that it sleeps.
    private var restedAt: UInt64 = 0
    /// Whether what the first queue needs is loaded, or was tried to be.
    private var isPrepared = false
    /// Whether throttle is gone.
    private var isAlone = false
    /// When it last looked whether other network namespaces are still the run's.
    private var lookedAround: UInt64 = 0

    /// `events`: those of the run's parent.
    init(
        _ life: GuardLife, _ hold: consuming RunHold, _ events: consuming CgroupEvents, _ planes: consuming Planes?,
        _ alarm: Alarm?, _ records: RecordDirectory?
    ) {
        control = GuardLoop.listen(hold.recordName, records, life.log)
        self.events = events
        self.hold = hold
        self.life = life
        memory = life.memory
        log = life.log
        self.planes = planes
        self.alarm = alarm
        self.records = records
        if memory.yielding != nil { yielding = Yielding(memory) }
    }

    /// Where `throttle set` and the like reach the run; nil where it isn't recorded.
    private static func listen(_ name: String?, _ records: RecordDirectory?, _ log: Logger) -> ControlSocket? {
        guard let records, let name else { return nil }
        do {
            return try ControlSocket(of: name, in: records)
        } catch {
            log.info("\(error)")
            return nil
        }
    }

    /// Takes down what throttle doesn't.
    mutating func stop() {
        if isAlone && !life.plan.target.isCommand { hold.giveBack(OpenSockets(memory, life.kernel, log)) }
        planes?.drain()
        life.member?.leave()
        planes?.stop()
        planes = nil
    }

    /// Goes on until throttle ends the run; or until nothing runs any more, where it has left the run to us or was killed.
    mutating func run() {
        enum Event { case line, devices, control, traffic, cgroup }
        while !isAlone || (life.plan.target.isCommand && events.isPopulated) {
            sleepIfQuiet()
            var poller = Poller<Event>()
            if isAlone {
                poller.addChange(of: events.descriptor, .cgroup)
            } else {
                poller.add(life.channel.descriptor, .line)
            }
            poller.add(control?.descriptor ?? -1, .control)
            for descriptor in watchDescriptors { poller.add(descriptor, .devices) }
            poller.add(alarm?.descriptor ?? -1, .traffic)
            poller.wake(at: nextTime)
            poller.wake(at: isPrepared ? nil : began + GuardLoop.haste)
            let ready = poller.wait()
            // First, as connections may wait for it.
            if ready.contains(.traffic) { hear() }
            if ready.contains(.line) {
                if case .end = try? life.channel.receive() { return }
                isAlone = true
            }
            if ready.contains(.control) { control?.answer { answer($0) } }
            tend(hasNewDevices: ready.contains(.devices))
        }
    }

    /// How long nothing has to move before it sleeps.
    private static let quiet: UInt64 = 500_000_000
    private static let round: UInt64 = 1_000_000_000
    /// A command that ends sooner needs nothing prepared.
    private static let haste: UInt64 = 10_000_000

    /// What the planes say; `none` where there are none.
    private func tell<Value>(_ none: Value, _ body: (borrowing Planes) -> Value) -> Value {
        switch planes {
        case .some(let planes): body(planes)
        case nil: none
        }
    }

    private var hasQueues: Bool { tell(false) { $0.hasQueues } }
    private func isWaiting(_ direction: Direction) -> Bool { tell(false) { $0.isWaiting(direction) } }
    private var hasStrangers: Bool { tell(false) { $0.hasStrangers } }
    private var watchDescriptors: [CInt] { tell([]) { $0.watchDescriptors } }

    /// When there is something to do without an event.
    private var nextTime: UInt64? {
        guard hasQueues || life.member != nil else { return nil }
        if let nextLook { return nextLook }
        if hasStrangers { return lookedAround + GuardLoop.round }
        return life.member == nil ? nil : restedAt + Membership.rest
    }

    /// Stops looking at a run that moves nothing, until the alarm sounds.
    private mutating func sleepIfQuiet() {
        let (now, last) = (Host.monotonicNanoseconds, memory.lastCharge)
        guard nextLook != nil, alarm != nil, now > max(last, began) + GuardLoop.quiet, !isWaiting(.down),
            !isWaiting(.up),
            memory.setAlarm(since: last)
        else { return }
        nextLook = nil
        restedAt = now
        life.member?.sleep()
    }

    /// Sets up what new devices need, and is awake then.
    private mutating func hear() {
        let known = memory.otherNetworks
        for device in alarm?.stop() ?? [] { planes?.use(device) }
        planes?.boundBuffers()
        if memory.otherNetworks != known { hold.note(memory) }
        if nextLook != nil { return }
        nextLook = Host.monotonicNanoseconds + Planes.period
        guard let member = life.member else { return }
        member.wake()
        follow(retries: false)
    }

    /// Does what is to be done when devices change, and every so often.
    private mutating func tend(hasNewDevices: Bool) {
        let now = Host.monotonicNanoseconds
        if !isPrepared && now >= began + GuardLoop.haste {
            isPrepared = true
            planes?.prepare()
        }
        let isTime = nextLook.map { $0 <= now } ?? false
        if isTime { nextLook = now + (yielding == nil ? Planes.period : Yielding.period) }
        if (isTime && nextStep <= now) || hasNewDevices {
            nextStep = now + Planes.period - Yielding.period / 2
            planes?.step()
        }
        if isTime { giveWay(now) }
        if hasStrangers && now >= lookedAround + GuardLoop.round {
            lookedAround = now
            planes?.leaveDeserted()
        }
        if isTime, life.member?.step(isWaiting: { isWaiting($0) }) == true { follow(retries: false) }
        if nextLook == nil, let member = life.member, now >= restedAt + Membership.rest {
            restedAt = now
            member.sleep()
        }
    }

    /// Limits the run to what it may use now.
    private mutating func follow(retries: Bool) {
        yielding?.follow()
        let most = life.member?.share ?? memory.asked
        memory.rates = yielding?.rates.capped(by: most) ?? most
        planes?.follow(retries: retries)
    }

    /// Has the run take what nobody else wants.
    private mutating func giveWay(_ now: UInt64) {
        guard var yielding else { return }
        if now >= others.at + GuardLoop.round { others = (now, hasOthersInBackground) }
        // Of those that give way, too, the delay tells.
        yielding.step(devices: others.areThere ? nil : tell(nil) { $0.traffic })
        if yielding.isBlind && !isToldBlind {
            isToldBlind = true
            log.info(
                "no round trip is timed (no TCP, or none of its timestamps): the line isn't known, nor who needs it")
        }
        self.yielding = yielding
        follow(retries: false)
    }

    private var hasOthersInBackground: Bool {
        var areThere = false
        RecordDirectory.forEach { directory in
            let isOwn = directory.path == records?.path
            let live = directory.live().records
            if live.contains(where: { $0.1.background == true && !(isOwn && $0.0 == hold.recordName) }) {
                areThere = true
            }
        }
        return areThere
    }
}

/// Answers.
extension GuardLoop {
    private mutating func answer(_ request: ControlRequest) -> ControlAnswer {
        switch request {
        case .report(let asText): return ControlAnswer((asText ? report.text : report.json) + "\n")
        case .join:
            // What another run needs to join the group.
            return life.member.map { ControlAnswer("joined", descriptors: $0.descriptors) }
                ?? refusal("it is in no group")
        case .set(let down, let up, let network, let background):
            if background == true && !life.plan.isBackground { return refusal("it wasn't begun with --background") }
            let before = memory.impairment
            if let network, let refused = impair(network.applied(to: before)) { return refused }
            guard let refused = change(to: memory.asked.changed(down: down, up: up), background) else { return changed }
            _ = impair(before)
            return refused
        case .setGroup(let down, let up):
            guard let group = memory.group else { return refusal("it is in no group") }
            group.rates = group.rates.changed(down: down, up: up)
            follow(retries: true)
            return ControlAnswer(ControlChange(down: group.rates.down, up: group.rates.up))
        }
    }

    private func refusal(_ text: String) -> ControlAnswer {
        ControlAnswer(ControlChange(down: .unlimited, up: .unlimited, refusal: text))
    }

    /// Limits the run to what its user asks for now; where it is to be shaped or not at all, only if it can be. Returns why
    /// it can't be; nil where it is.
    private mutating func change(to asked: Rates, _ background: Bool? = nil) -> ControlAnswer? {
        let before = memory.asked
        memory.asked = asked
        follow(retries: true)
        if life.plan.mode == .shape, let obstacle = memory.obstacle {
            memory.asked = before
            follow(retries: false)
            return refusal("can't shape downloads: \(obstacle)")
        }
        if let background { yield(background) }
        hold.note(memory)
        life.tellPlanes(hold.method)
        return nil
    }

    /// What holds now.
    private var changed: ControlAnswer {
        let most = memory.mostRates
        let impairment = memory.impairment
        return ControlAnswer(
            ControlChange(
                down: most.down, up: most.up, obstacle: memory.obstacle,
                impairment: impairment == .none ? nil : "\(impairment)"))
    }

    /// Has the run give way, or not any more.
    private mutating func yield(_ isOn: Bool) {
        if isOn == (yielding != nil) { return }
        yielding = isOn ? Yielding(memory) : nil
        if !isOn { memory.yielding = nil }
        memory.drains = isOn && !RunCgroup.isCallerInside
        follow(retries: true)
    }

    /// Makes the network as slow as its user asks for now. Returns why it can't be; nil where it is.
    private mutating func impair(_ asked: Impairment) -> ControlAnswer? {
        if let fault = asked.fault { return refusal(fault) }
        let before = memory.impairment
        if asked == before { return nil }
        if life.plan.mode == .police || planes == nil { return refusal("it has no queues, which that takes") }
        memory.impairment = asked
        do {
            try planes?.impair()
            return nil
        } catch {
            memory.impairment = before
            try? planes?.impair()
            return refusal("can't make the network slow: \(error)")
        }
    }

    private var report: Report {
        var report = hold.report(life.plan.subject(life.command), memory, life.member)
        report.end(nil, after: Host.monotonicNanoseconds - began)
        return report
    }
}

extension Rates {
    /// With these bytes per second instead, 0 for no limit; nil: as before.
    fileprivate func changed(down: UInt64?, up: UInt64?) -> Rates {
        Rates(
            down: down.map(Rate.init(bytesPerSecond:)) ?? self.down, up: up.map(Rate.init(bytesPerSecond:)) ?? self.up)
    }
}
