import CPrograms

/// TCP sockets that share a limit, as bpf/tcp.h has them do, with a clock of their own. Each sends two segments at a
/// time, or a millisecond of its rate, paced; the acknowledgement gives it the rate for what follows. What the police
/// doesn't pass is kept and tried again.
struct ShareSimulation {
    /// What one socket wants.
    struct Demand {
        /// Bytes a second that its application writes; nil: all it can get.
        var rate: Double?
        /// Seconds in which it is there.
        var from = 0.0
        var to = Double.infinity

        static let greedy = Demand()
    }

    let limit: throttle_limit
    private(set) var share = throttle_share()
    private(set) var seconds = 0.0
    /// Bytes that each socket has sent.
    private(set) var sent: [Double]
    private(set) var passed = 0
    private(set) var deferred = 0
    private var sockets: [Socket]
    private var due: UInt64 = ShareSimulation.start
    private var events = Heap()
    private let roundTrip: UInt64

    private static let start: UInt64 = 1_000_000_000_000
    private static let second: UInt64 = 1_000_000_000

    private struct Socket {
        let demand: Demand
        var rate: UInt64 = 0
        var epoch: UInt32 = 0
        /// When it was last told of its rate: once in a round trip.
        var paced: UInt64 = 0
        /// How often the police refused what it has to send.
        var refusals: UInt64 = 0
    }

    init(limit: UInt64, burst: UInt64 = 200_000_000, roundTrip: Double = 0.02, _ demands: [Demand]) {
        self.limit = bucket_limit(limit, burst, false)
        self.roundTrip = UInt64(roundTrip * 1e9)
        sockets = demands.map { Socket(demand: $0) }
        sent = [Double](repeating: 0, count: demands.count)
        for (number, demand) in demands.enumerated() {
            // Connections aren't made at once.
            let jitter = UInt64(number % 64) * 1_000_003
            events.push(Event(time: time(demand.from) + jitter, socket: number, kind: .established))
        }
    }

    /// The turn of each of `count` sockets, in seconds.
    func round(_ count: Int) -> Double {
        withUnsafePointer(to: limit) { Double(share_round($0, UInt32(count))) / 1e9 }
    }

    /// Goes on until that many seconds from the start. Returns the bytes that each socket sent meanwhile, a second.
    @discardableResult
    mutating func run(until end: Double) -> [Double] {
        let before = sent
        while let next = events.first, next.time < time(end) {
            events.pop()
            handle(next)
        }
        let elapsed = end - seconds
        seconds = end
        return zip(sent, before).map { ($0 - $1) / elapsed }
    }

    private func time(_ seconds: Double) -> UInt64 { ShareSimulation.start + UInt64(min(seconds, 1e9) * 1e9) }

    private mutating func handle(_ event: Event) {
        let number = event.socket
        if event.time >= time(sockets[number].demand.to) { return }
        switch event.kind {
        case .established:
            pace(number, event.time)
            send(number, event.time)
        case .turn: send(number, event.time)
        case .acknowledged where event.time >= sockets[number].paced + roundTrip: pace(number, event.time)
        case .acknowledged: break
        }
    }

    /// tcp_pace() of bpf/tcp.h.
    private mutating func pace(_ number: Int, _ now: UInt64) {
        sockets[number].paced = now
        if sockets[number].epoch != share.epoch + 1 {
            sockets[number].epoch = share.epoch + 1
            share.active_now += 1
        }
        let lead = Int64(bitPattern: due &- now)
        let rate = withUnsafePointer(to: limit) { limit in
            share_roll(&share, limit, now)
            return share_rate(&share, limit, lead, roundTrip, now)
        }
        sockets[number].rate = share_pacing_rate(sockets[number].rate, rate)
    }

    private mutating func send(_ number: Int, _ now: UInt64) {
        let rate = sockets[number].rate
        let bytes = UInt32(min(max(2 * share_segment(limit.rate), rate >> 10), 65_160))
        if let wanted = sockets[number].demand.rate {
            let ready = time(sockets[number].demand.from + (sent[number] + Double(bytes)) / wanted)
            if ready > now { return events.push(Event(time: ready, socket: number, kind: .turn)) }
        }
        let cost = withUnsafePointer(to: limit) { bucket_cost($0, bytes) }
        guard bucket_admit(&due, now, cost, limit.burst_ns) else {
            deferred += 1
            // TCP's probe timer backs off.
            sockets[number].refusals += 1
            let wait: UInt64 = min(200_000_000 << min(sockets[number].refusals - 1, 10), 120_000_000_000 as UInt64)
            return events.push(Event(time: now + wait, socket: number, kind: .turn))
        }
        sockets[number].refusals = 0
        passed += 1
        sent[number] += Double(bytes)
        events.push(Event(time: now + roundTrip, socket: number, kind: .acknowledged))
        let pause = UInt64(Double(bytes) * 1e9 / Double(max(rate, 1)))
        events.push(Event(time: now + max(1, pause), socket: number, kind: .turn))
    }
}

private struct Event {
    enum Kind { case established, turn, acknowledged }

    let time: UInt64
    let socket: Int
    let kind: Kind
}

/// The next event first.
private struct Heap {
    private var events: [Event] = []

    var first: Event? { events.first }

    mutating func push(_ event: Event) {
        events.append(event)
        var child = events.count - 1
        while child > 0, case let parent = (child - 1) / 2, events[child].time < events[parent].time {
            events.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() {
        events.swapAt(0, events.count - 1)
        events.removeLast()
        var parent = 0
        while case var child = 2 * parent + 1, child < events.count {
            if child + 1 < events.count, events[child + 1].time < events[child].time { child += 1 }
            if events[parent].time <= events[child].time { return }
            events.swapAt(parent, child)
            parent = child
        }
    }
}
