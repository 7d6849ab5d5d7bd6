import CPrograms
import TestSupport
import Testing

@Suite struct ShareTests {
    private typealias Demand = ShareSimulation.Demand

    private func sum(_ rates: some Sequence<Double>) -> Double { rates.reduce(0, +) }

    @Test(
        arguments: [1000, 4000, 10_000, 50_000, 1_000_000, 50_000_000, 1_000_000_000, 10_000_000_000] as [UInt64],
        [1, 2, 16, 100, 1000])
    func `greedy sockets fill the limit, and share it equally`(limit: UInt64, count: Int) {
        var sockets = ShareSimulation(limit: limit, [Demand](repeating: .greedy, count: count))
        let round = sockets.round(count)
        let warm = 2 + 20 * round
        let span = max(0.5, 40 * round)
        sockets.run(until: warm)
        let rates = sockets.run(until: warm + span)
        let ratio = sum(rates) / Double(limit)
        // Where a round takes far longer than the burst, sockets that were refused wait for TCP's probe timer.
        #expect((round < 1 ? 0.97...1.03 : 0.85...1.03).contains(ratio), "\(ratio)")
        if round < 0.5 {
            let shares = rates.map { $0 * Double(count) / Double(limit) }
            #expect(shares.allSatisfy { (0.85...1.15).contains($0) }, "\(shares.min() ?? 0) \(shares.max() ?? 0)")
        }
    }

    @Test(arguments: [1000, 3000, 10_000] as [UInt64], [1, 2])
    func `a slow limit is filled for as long as a transfer takes`(limit: UInt64, count: Int) {
        var sockets = ShareSimulation(limit: limit, [Demand](repeating: .greedy, count: count))
        sockets.run(until: 600)
        for _ in 1...5 {
            let ratio = sum(sockets.run(until: sockets.seconds + 1000)) / Double(limit)
            // Two that began at one time go on so: the lead that they read, of both their turns, is above the average.
            #expect((0.97...1.02).contains(ratio), "\(ratio)")
        }
    }

    @Test(arguments: [100_000, 1_000_000, 100_000_000] as [UInt64], [0.001, 0.02, 0.2])
    func `one greedy socket gets what fifteen slow ones leave`(limit: UInt64, roundTrip: Double) {
        let slow = (0..<15).map { Demand(rate: Double(limit) / 100, from: Double($0 * 7 % 15) / 5) }
        var sockets = ShareSimulation(limit: limit, roundTrip: roundTrip, slow + [.greedy])
        sockets.run(until: 10)
        let rates = sockets.run(until: 50).map { $0 / Double(limit) }
        #expect((0.78...0.88).contains(rates[15]), "\(rates[15])")
        #expect((0.93...1.03).contains(sum(rates)), "\(sum(rates))")
        #expect(rates.prefix(15).allSatisfy { (0.008...0.012).contains($0) })
    }

    /// TCP tells the round trip, and so is told of the rate, once in each.
    @Test(arguments: [0.1, 0.3, 0.6, 1, 2], [1, 4, 16])
    func `the limit is filled over long paths`(roundTrip: Double, count: Int) {
        var sockets = ShareSimulation(
            limit: 500_000, roundTrip: roundTrip, [Demand](repeating: .greedy, count: count))
        sockets.run(until: 20 * roundTrip)
        let ratio = sum(sockets.run(until: 60 * roundTrip)) / 500_000
        #expect((0.97...1.03).contains(ratio), "\(ratio)")
    }

    @Test func `a share is max-min fair`() {
        let limit = 1_000_000.0
        let demands = [0.02, 0.1, 0.15].map { Demand(rate: limit * $0) } + [.greedy, .greedy, .greedy]
        var sockets = ShareSimulation(limit: UInt64(limit), demands)
        sockets.run(until: 10)
        let rates = sockets.run(until: 30).map { $0 / limit }
        for (rate, fair) in zip(rates, [0.02, 0.1, 0.15, 0.2433, 0.2433, 0.2433]) {
            #expect(abs(rate / fair - 1) < 0.1, "\(rates)")
        }
    }

    @Test(arguments: [50_000, 1_000_000, 100_000_000] as [UInt64])
    func `sockets that come and go take their share and give it back`(limit: UInt64) {
        let visitors = [Demand](repeating: Demand(from: 30, to: 60), count: 9)
        var sockets = ShareSimulation(limit: limit, [.greedy] + visitors)
        for (end, share) in [(30.0, 1.0), (60, 0.1), (90, 1)] {
            sockets.run(until: end - 20)
            let rates = sockets.run(until: end).map { $0 / Double(limit) }
            #expect(abs(rates[0] / share - 1) < 0.15, "\(end): \(rates[0])")
            #expect((0.95...1.05).contains(sum(rates)), "\(end): \(sum(rates))")
        }
    }

    @Test func `short connections, one after another, fill the limit`() {
        let visitors = (0..<600).map { Demand(from: Double($0) / 20, to: Double($0) / 20 + 0.3) }
        var sockets = ShareSimulation(limit: 10_000_000, roundTrip: 0.001, visitors)
        sockets.run(until: 5)
        let ratio = sum(sockets.run(until: 29)) / 10_000_000
        #expect((0.9...1.03).contains(ratio), "\(ratio)")
    }

    @Test func `what the police refuses is little`() {
        for (limit, count) in [(50_000, 1), (1_000_000, 16), (100_000_000, 100)] as [(UInt64, Int)] {
            var sockets = ShareSimulation(limit: limit, [Demand](repeating: .greedy, count: count))
            sockets.run(until: 30)
            #expect(sockets.deferred <= count + sockets.passed / 50, "\(sockets.deferred) of \(sockets.passed)")
        }
    }
}

@Suite struct ShareArithmeticTests {
    private let second: UInt64 = 1_000_000_000

    @Test(arguments: [1, 50_000, 1_000_000_000, UInt64(Int64.max)])
    func `idle sockets don't count after two epochs`(rate: UInt64) {
        var share = throttle_share()
        let limit = bucket_limit(rate, 200_000_000, false)
        var now = 1000 * second
        /// Just long enough for a new epoch.
        func next() {
            let epoch = share.epoch
            while share.epoch == epoch {
                now += withUnsafePointer(to: limit) { 250_000_000 + 4 * share_round($0, share_active(&share)) }
                withUnsafePointer(to: limit) { share_roll(&share, $0, now) }
            }
        }
        next()
        share.active_now = 40
        #expect(share_active(&share) == 40)
        next()
        #expect(share_active(&share) == 40)
        // Two of them go on.
        share.active_now = 2
        #expect(share_active(&share) == 40)
        next()
        #expect(share_active(&share) == 2)
        next()
        #expect(share_active(&share) == 1)
    }

    @Test func `after a long pause nobody counts`() {
        var share = throttle_share()
        let limit = bucket_limit(1_000_000, 200_000_000, false)
        withUnsafePointer(to: limit) { share_roll(&share, $0, 1000 * second) }
        share.active_now = 30
        withUnsafePointer(to: limit) { share_roll(&share, $0, 1100 * second) }
        #expect(share_active(&share) == 1)
    }

    @Test(arguments: rates)
    func `a round takes the turns of all, and never overflows`(rate: UInt64) {
        var limit = bucket_limit(rate, 1_000_000, false)
        let turn = share_turn(&limit)
        #expect(turn <= 1072 * second)
        var last: UInt64 = 0
        for shift in 0...32 {
            let active = UInt32(clamping: UInt64(1) << UInt64(shift))
            let round = share_round(&limit, active)
            #expect(round >= last && round <= 1 << 50)
            #expect(round == 1 << 50 || round == turn * UInt64(active))
            last = round
        }
    }

    @Test(arguments: rates)
    func `a segment is a hundredth of the limit, of usual size`(rate: UInt64) {
        #expect(share_segment(rate) == min(max(rate / 100, 536), 1448))
    }

    @Test(arguments: rates + [15, 16, 17])
    func `a rate is never 0, and never far beyond the limit`(rate: UInt64) {
        var random = SeededGenerator(seed: rate)
        for _ in 0..<2000 {
            let burst = [1_000_000, 200_000_000, 60 * second].randomElement(using: &random) ?? second
            var limit = bucket_limit(rate, burst, random.next() % 2 == 0)
            var share = throttle_share()
            (share.active_before, share.active_now) = (count(&random), count(&random))
            share.gain = random.next() % 4 == 0 ? 0 : random.magnitude(bits: 43)
            let now = random.magnitude(bits: 63)
            share.stepped_ns = now - min(now, random.next() % 2 == 0 ? 0 : random.magnitude(bits: 63))
            let lead = Int64(bitPattern: random.next() % 4 == 0 ? random.next() : random.magnitude(bits: 40))
            let isStep = now - share.stepped_ns >= SHARE_STEP_NS
            let gains = UInt64(SHARE_ONE) / 4...UInt64(share_active(&share)) * UInt64(SHARE_ONE)
            let result = share_rate(&share, &limit, lead, 0, now)
            // At most twice what there is: one is the share of all, the other the error.
            #expect((16...max(16, 2 * rate)).contains(result), "\(rate) \(burst) \(share) \(lead)")
            #expect(!isStep || gains.contains(share.gain))
        }
    }

    /// Any count of sockets.
    private func count(_ random: inout SeededGenerator) -> UInt32 {
        switch random.next() % 8 {
        case 0: 0
        case 1: .max
        default: UInt32(random.magnitude(bits: 32))
        }
    }

    @Test(arguments: [16, 1000, 50_000, 10_000_000_000, 1 << 50] as [UInt64])
    func `the rate falls with the lead`(rate: UInt64) {
        var limit = bucket_limit(rate, 200_000_000, false)
        var last = UInt64.max
        for lead in stride(from: Int64(-1_000_000_000), through: 5_000_000_000, by: 10_000_000) {
            var share = throttle_share()
            (share.active_now, share.gain, share.stepped_ns) = (3, 1024, second)
            let result = share_rate(&share, &limit, lead, 0, second + 1)
            #expect(result <= last)
            last = result
        }
    }

    @Test(arguments: [16, 64, 1000, 50_000, 1 << 50] as [UInt64])
    func `a socket is paced to half its share at first, then to what differs by a 64th`(rate: UInt64) {
        #expect(share_pacing_rate(0, rate) == rate / 2)
        let least = rate / 64
        for change in [0, least / 2, max(1, least) - 1] {
            #expect(share_pacing_rate(rate, rate + change) == rate)
            #expect(share_pacing_rate(rate, rate - change) == rate)
        }
        for change in [max(1, least), least + 1, rate / 2] {
            #expect(share_pacing_rate(rate, rate + change) == rate + change)
            #expect(share_pacing_rate(rate, rate - change) == rate - change)
        }
    }

    @Test(arguments: [1_000_000, 200_000_000, 60_000_000_000] as [UInt64])
    func `an error is none at its target, and one where packets are refused`(burst: UInt64) {
        var limit = bucket_limit(1_000_000_000, burst, false)
        let target = Int64(burst / 4 + min(share_round(&limit, 1), burst / 4))
        #expect(share_error(&limit, 1, target, 0) == 0)
        #expect(share_error(&limit, 1, target + Int64(burst / 2), 0) == -1024)
        #expect(share_error(&limit, 1, Int64.max / 2, 0) == -1024)
        #expect((500...1024).contains(share_error(&limit, 1, 0, 0)))
        #expect(share_error(&limit, 1, -1, 0) == share_error(&limit, 1, 0, 0))
    }
}
