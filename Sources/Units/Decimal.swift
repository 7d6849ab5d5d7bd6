/// An unsigned decimal number read from text exactly, without going through floating point.
struct Decimal {
    /// The number times 10 to the power of `fractionDigits`.
    let digits: UInt64
    let fractionDigits: Int

    /// Reads the digits that `text` starts with and returns what follows them, nil if it doesn't start
    /// with a number (`12`, `1.5`) or if that number has more digits than 64 bits hold.
    static func read(from text: Substring) -> (number: Decimal, rest: Substring)? {
        let whole = text.prefix(while: isDigit)
        var rest = text[whole.endIndex...]
        var fraction: Substring = ""
        if rest.first == "." {
            fraction = rest.dropFirst().prefix(while: isDigit)
            if fraction.isEmpty { return nil }
            rest = rest[fraction.endIndex...]
        }
        guard !whole.isEmpty, let digits = UInt64(whole + fraction) else { return nil }
        return (Decimal(digits: digits, fractionDigits: fraction.count), rest)
    }

    /// The number times `numerator / denominator`, rounded to the nearest whole; nil if it overflows.
    func scaled(by numerator: UInt64, over denominator: UInt64) -> UInt64? {
        var divisor = UInt128(denominator)
        for _ in 0..<fractionDigits { divisor *= 10 }
        let rounded = (UInt128(digits) * UInt128(numerator) + divisor / 2) / divisor
        return UInt64(exactly: rounded)
    }

    private static func isDigit(_ character: Character) -> Bool {
        character.isASCII && character.isNumber
    }
}

/// Text that isn't the quantity it should be. The description says what was read and what is accepted.
public struct InvalidQuantity: Error, Equatable, CustomStringConvertible {
    public let description: String
}
