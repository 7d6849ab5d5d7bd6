/// What one of several may use of a budget that all share max-min fairly, in bytes per second; at least 1. `demands` are
/// those of the others: who wants less than an equal part leaves the rest to all.
package func fairShare(of budget: UInt64, besides demands: some Sequence<UInt64>) -> UInt64 {
    let demands = demands.sorted()
    var rest = budget
    for (served, demand) in demands.enumerated() {
        let part = rest / UInt64(demands.count - served + 1)
        if demand >= part { return max(part, 1) }
        rest -= demand
    }
    return max(rest, 1)
}
