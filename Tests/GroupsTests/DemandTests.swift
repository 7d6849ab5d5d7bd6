import Testing

@testable import Groups

@Suite struct DemandTests {
    /// The demand after 20 steps of 100 ms at a rate.
    private func demand(rate: UInt64, share: UInt64, isHeld: Bool = false) -> UInt64 {
        var demand = Demand(passed: 0)
        return (1...20).reduce(0) { _, step in
            demand.step(passed: rate / 10 * UInt64(step), isHeld: isHeld, share: share, seconds: 0.1)
        }
    }

    @Test func `who uses its share wants all`() {
        #expect(demand(rate: 1_000_000, share: 1_000_000) == Demand.all)
        #expect(demand(rate: 950_000, share: 1_000_000) == Demand.all)
    }

    @Test func `who uses less wants a little more than that`() {
        #expect(550_000...551_000 ~= demand(rate: 500_000, share: 1_000_000))
        #expect(demand(rate: 0, share: 1_000_000) == 0)
    }

    @Test func `who is held back wants all, whatever passed`() {
        #expect(demand(rate: 1000, share: 1_000_000, isHeld: true) == Demand.all)
    }

    @Test func `single packets at a low rate don't hide that it is used`() {
        var demand = Demand(passed: 0)
        var wanted: [UInt64] = []
        // 3 kB/s in packets of 1448 bytes: one in five steps.
        for step in 1...100 {
            wanted.append(
                demand.step(passed: UInt64(step / 5) * 1448, isHeld: false, share: 3000, seconds: 0.1))
        }
        #expect(wanted.suffix(50).allSatisfy { $0 >= 1500 })
    }

    @Test func `a pause is over soon at a high rate`() {
        var demand = Demand(passed: 0)
        _ = demand.step(passed: 500_000, isHeld: false, share: 5_000_000, seconds: 0.1)
        let wanted = (1...10).map { _ in demand.step(passed: 500_000, isHeld: false, share: 5_000_000, seconds: 0.1) }
        #expect(wanted[9] < 100_000 && wanted == wanted.sorted(by: >))
    }
}
