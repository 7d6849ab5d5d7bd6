/// How fast one direction may be.
package enum Rate: Equatable, Sendable {
    /// No limit.
    case unlimited
    /// 1 to 2^63 - 1.
    case bytesPerSecond(UInt64)

    /// 0 stands for no limit.
    package init(bytesPerSecond: UInt64) {
        self = bytesPerSecond == 0 ? .unlimited : .bytesPerSecond(bytesPerSecond)
    }

    /// nil where there is no limit.
    package var bytesPerSecond: UInt64? { if case .bytesPerSecond(let rate) = self { rate } else { nil } }

    /// Reads a rate: bytes per second, with `k M G T` (powers of 1000) or `Ki Mi Gi Ti` (of 1024), then
    /// `B`, `B/s`, `/s` or nothing; or bits with `bit` or `bit/s` (`800kbit`); or `unlimited`. Case is free.
    package init(_ text: String) throws(InvalidQuantity) {
        let lowered = lowercasedASCII(text)
        if lowered == "unlimited" {
            self = .unlimited
            return
        }
        guard let (number, unit) = Decimal.read(from: lowered[...]), let scale = Rate.scale(of: unit) else {
            throw InvalidQuantity(
                description: "'\(text)' is not a rate: give bytes per second such as 50k, 1.5M, 512KiB/s,"
                    + " bits such as 800kbit, or 'unlimited'")
        }
        guard let value = number.scaled(by: scale.bytes, over: scale.per), value <= UInt64(Int64.max) else {
            throw InvalidQuantity(description: "'\(text)' is too large a rate: at most 2^63 - 1 bytes per second")
        }
        guard value > 0 else {
            throw InvalidQuantity(
                description: "'\(text)' is less than 1 byte per second: a limit must let something through")
        }
        self = .bytesPerSecond(value)
    }

    /// The factor that a lower-case unit stands for, as bytes over a divisor; nil if it is none.
    private static func scale(of unit: Substring) -> (bytes: UInt64, per: UInt64)? {
        let (factor, rest) = multiple(in: unit)
        switch rest {
        case "", "b", "b/s", "/s": return (factor, 1)
        case "bit", "bit/s": return (factor, 8)
        default: return nil
        }
    }
}

extension Rate: Comparable {
    /// No limit is more than any.
    package static func < (one: Rate, other: Rate) -> Bool {
        (one.bytesPerSecond ?? .max) < (other.bytesPerSecond ?? .max)
    }
}

extension Rate: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unlimited: "unlimited"
        case .bytesPerSecond(let rate): "\(Scaled(Double(rate), unit: "B/s"))"
        }
    }
}
