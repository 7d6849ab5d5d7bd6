/// A number as people read it: one decimal, with a decimal prefix (`48.9 kB`). Foundation's formatters
/// would cost the static binary 44 MB.
public struct Scaled: CustomStringConvertible {
    public let description: String

    public init(_ value: Double, unit: String) {
        var value = value
        var prefix = ""
        for next in ["k", "M", "G", "T", "P", "E"] where value >= 999.95 {
            value /= 1000
            prefix = next
        }
        let plain = prefix.isEmpty && value == value.rounded()
        description = (plain ? "\(UInt64(value))" : fixed(value, digits: 1)) + " " + prefix + unit
    }
}

/// `value` (not negative, below 2^53 with its decimals) with exactly `digits` decimals.
public func fixed(_ value: Double, digits: Int) -> String {
    var scale: UInt64 = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = UInt64((value * Double(scale)).rounded())
    let fraction = String(scaled % scale)
    return "\(scaled / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
}
