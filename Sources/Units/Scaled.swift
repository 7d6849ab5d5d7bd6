/// A number as people read it: one decimal, with a decimal prefix (`48.9 kB`). Foundation's formatters
/// would cost the static binary 44 MB.
package struct Scaled: CustomStringConvertible {
    package let description: String

    private static let prefixes = ["", "k", "M", "G", "T", "P", "E"]

    /// `value` isn't negative, and finite; `unit` is what prefixes go before.
    package init(_ value: Double, unit: String) {
        let power = Scaled.power(of: value)
        description = Scaled.number(value, power) + " " + Scaled.prefixes[power] + unit
    }

    /// A part of a whole, in the whole's unit: `474.9 of 500.0 kB`. Each has its own where the part would not show in
    /// that, or run long.
    package init(_ part: Double, of whole: Double, unit: String) {
        let power = Scaled.power(of: whole)
        let shown = part / Scaled.scale(power)
        let first = part == 0 || 0.05..<9999.95 ~= shown ? Scaled.number(part, power) : "\(Scaled(part, unit: unit))"
        description = "\(first) of \(Scaled(whole, unit: unit))"
    }

    /// Of thousand.
    private static func power(of value: Double) -> Int {
        prefixes.indices.first { value / scale($0) < 999.95 } ?? prefixes.count - 1
    }

    private static func scale(_ power: Int) -> Double { (0..<power).reduce(1) { scale, _ in scale * 1000 } }

    private static func number(_ value: Double, _ power: Int) -> String {
        let isPlain = power == 0 && value == value.rounded()
        return isPlain ? "\(UInt64(value))" : fixed(value / scale(power), digits: 1)
    }
}

/// `value` (not negative, below 2^53 with its decimals) with exactly `digits` decimals.
package func fixed(_ value: Double, digits: Int) -> String {
    var scale: UInt64 = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = UInt64((value * Double(scale)).rounded())
    let fraction = String(scaled % scale)
    return "\(scaled / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
}
