/// An unsigned decimal number read from text exactly, without going through floating point.
struct Decimal {
    /// The number times 10 to the power of `fractionDigits`; nil if that is more than 128 bits hold.
    let digits: UInt128?
    let fractionDigits: Int

    /// Reads the digits that `text` starts with and returns what follows them, nil if it doesn't start
    /// with a number (`12`, `1.5`). Digits after the 18th decimal are worth nothing in any unit.
    static func read(from text: Substring) -> (number: Decimal, rest: Substring)? {
        let whole = text.prefix(while: isDigit)
        var rest = text[whole.endIndex...]
        var fraction: Substring = ""
        if rest.first == "." {
            fraction = rest.dropFirst().prefix(while: isDigit)
            if fraction.isEmpty { return nil }
            rest = rest[fraction.endIndex...]
        }
        if whole.isEmpty { return nil }
        let kept = fraction.prefix(18)
        return (Decimal(digits: UInt128(whole + kept), fractionDigits: kept.count), rest)
    }

    /// The number times `numerator / denominator`, rounded to the nearest whole; nil if it overflows.
    func scaled(by numerator: UInt64, over denominator: UInt64) -> UInt64? {
        var divisor = UInt128(denominator)
        for _ in 0..<fractionDigits { divisor *= 10 }
        guard let digits, case (let product, false) = digits.multipliedReportingOverflow(by: UInt128(numerator)),
            case (let sum, false) = product.addingReportingOverflow(divisor / 2)
        else { return nil }
        return UInt64(exactly: sum / divisor)
    }

    private static func isDigit(_ character: Character) -> Bool {
        character.isASCII && character.isNumber
    }
}

/// `text` with A to Z in lower case. Unicode's rules would also make a `k` of the Kelvin sign.
func lowercasedASCII(_ text: String) -> String {
    String(decoding: text.utf8.map { UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0 ? $0 | 0x20 : $0 }, as: UTF8.self)
}

/// Text that isn't the quantity it should be. The description says what was read and what is accepted.
package struct InvalidQuantity: Error, Equatable, CustomStringConvertible {
    package let description: String
}
