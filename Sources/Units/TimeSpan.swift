/// A length of time for people to give, such as a burst.
package struct TimeSpan: Equatable, Sendable {
    package let nanoseconds: UInt64

    package init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// Reads `200ms`, `1.5s`, `500us`, `10m` or `2h`.
    package init(_ text: String) throws(InvalidQuantity) {
        let scales: [Substring: UInt64] = [
            "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000,
        ]
        guard let (number, unit) = Decimal.read(from: lowercasedASCII(text)[...]), let scale = scales[unit],
            let value = number.scaled(by: scale, over: 1)
        else {
            throw InvalidQuantity(
                description: "'\(text)' is not a time: give a number with us, ms, s, m or h, such as 200ms")
        }
        nanoseconds = value
    }

    package var seconds: Double { Double(nanoseconds) / 1e9 }
}

extension TimeSpan: CustomStringConvertible {
    /// In seconds or milliseconds, with at most three decimals: `1.5s`, `200ms`.
    package var description: String {
        nanoseconds < 1_000_000_000
            ? plain(fixed(Double(nanoseconds) / 1e6, digits: 3)) + "ms" : plain(fixed(seconds, digits: 3)) + "s"
    }
}
