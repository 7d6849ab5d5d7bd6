import TestSupport
import Testing

@testable import Groups

@Suite struct FairShareTests {
    @Test(
        arguments: [
            (budget: 100, demands: [], share: 100), (100, [Demand.all], 50),
            (100, [Demand.all, Demand.all, Demand.all], 25),
            (100, [10], 90), (100, [10, Demand.all], 45), (100, [10, 20], 70), (100, [60], 50), (100, [50], 50),
            (100, [0, 0, 0], 100), (100, [30, 30, Demand.all], 25), (100, [20, 30, Demand.all], 26),
            (1, [Demand.all], 1),
            (3, [Demand.all, Demand.all], 1),
        ] as [(budget: UInt64, demands: [UInt64], share: UInt64)])
    func `who wants little leaves the rest to all`(budget: UInt64, demands: [UInt64], share: UInt64) {
        #expect(fairShare(of: budget, besides: demands) == share)
        #expect(fairShare(of: budget, besides: demands.reversed()) == share)
    }

    @Test func `what all get together is the budget, and nobody could have more without one that has less losing it`() {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<2000 {
            let budget = UInt64.random(in: 1000...10_000_000, using: &generator)
            let demands: [UInt64] = (0..<Int.random(in: 1...20, using: &generator)).map { _ in
                Bool.random(using: &generator) ? Demand.all : UInt64.random(in: 0...budget, using: &generator)
            }
            let got = demands.indices.map { index in
                let others = demands.indices.filter { $0 != index }.map { demands[$0] }
                return min(demands[index], fairShare(of: budget, besides: others))
            }
            let total = got.reduce(0, +)
            #expect(total <= budget)
            let hungry = demands.indices.filter { got[$0] < demands[$0] }
            if !hungry.isEmpty { #expect(total + UInt64(demands.count) >= budget, "\(demands) of \(budget)") }
            let most = got.max() ?? 0
            for index in hungry { #expect(got[index] + 1 >= most, "\(demands) of \(budget)") }
        }
    }
}
