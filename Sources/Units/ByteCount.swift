/// An amount of data for people to give, such as a quota.
package struct ByteCount: Equatable, Sendable {
    /// 1 to 2^63 - 1.
    package let bytes: UInt64

    /// Reads `500M`, `1.5GB` or `200MiB`. Case is free.
    package init(_ text: String) throws(InvalidQuantity) {
        let read = Decimal.read(from: lowercasedASCII(text)[...])
        let (scale, unit) = multiple(in: read?.rest ?? "")
        guard let number = read?.number, ["", "b"].contains(unit), let bytes = number.scaled(by: scale, over: 1),
            (1...UInt64(Int64.max)).contains(bytes)
        else {
            throw InvalidQuantity(description: "'\(text)' is no amount of data: give bytes such as 500M, 1.5GB, 200MiB")
        }
        self.bytes = bytes
    }
}

/// The factor that a lower-case unit begins with, `k`, `m`, `g` or `t`, or with an `i` behind it, and what follows it.
func multiple(in unit: Substring) -> (factor: UInt64, rest: Substring) {
    guard let power = unit.first.flatMap({ "kmgt".firstIndex(of: $0) }) else { return (1, unit) }
    let exponent = "kmgt".distance(from: "kmgt".startIndex, to: power) + 1
    // "bi" of "bit" isn't the "i" of "Ki": that one follows the prefix directly.
    let isBinary = unit.dropFirst().first == "i"
    let factor = (0..<exponent).reduce(1 as UInt64) { factor, _ in factor * (isBinary ? 1024 : 1000) }
    return (factor, unit.dropFirst(isBinary ? 2 : 1))
}
