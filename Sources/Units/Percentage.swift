/// A part of a whole for people to give, such as how many packets are lost.
package struct Percentage: Equatable, Sendable {
    /// 0 to 1.
    package let share: Double

    /// What is beyond 0 to 1 counts as the nearer of both.
    package init(share: Double) {
        self.share = share.isNaN ? 0 : min(max(share, 0), 1)
    }

    package static let zero = Percentage(share: 0)

    /// Reads `1%`, `0.5%` or `2`, which is percent, too.
    package init(_ text: String) throws(InvalidQuantity) {
        guard let (number, unit) = Decimal.read(from: text[...]), unit.isEmpty || unit == "%",
            let parts = number.scaled(by: 10_000_000, over: 1), parts <= 1_000_000_000
        else { throw InvalidQuantity(description: "'\(text)' is not a percentage: give 0% to 100%, such as 0.5%") }
        share = Double(parts) / 1e9
    }
}

extension Percentage: CustomStringConvertible {
    /// With at most three decimals.
    package var description: String { plain(fixed(share * 100, digits: 3)) + "%" }
}

/// A number without what says nothing at the end of its decimals.
func plain(_ number: String) -> String {
    let text = number.reversed().drop { $0 == "0" }
    return String(String((text.first == "." ? text.dropFirst() : text)).reversed())
}
