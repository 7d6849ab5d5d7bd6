extension String {
    /// The same for a terminal, on one line: what would move its cursor, or begin a line, is escaped (`\n`, `\u{1B}`).
    package var printable: String {
        unicodeScalars.reduce(into: "") { text, scalar in
            if scalar.isPrintable { text.unicodeScalars.append(scalar) } else { text += scalar.escaped(asASCII: true) }
        }
    }

    /// The same for a terminal, line by line.
    package var printableLines: String {
        split(separator: "\n", omittingEmptySubsequences: false).map { String($0).printable }.joined(separator: "\n")
    }

    /// The same JSON, on one line that a terminal shows, too: what it wouldn't is escaped (RFC 8259, section 7).
    package var printableJSON: String {
        unicodeScalars.reduce(into: "") { text, scalar in
            if scalar.isPrintable { return text.unicodeScalars.append(scalar) }
            for unit in UTF16.encode(scalar) ?? .init() {
                let digits = String(unit, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }
        }
    }

    /// Whether a run or a group may have this name: 1 to 64 letters, digits, `.`, `_` and `-`.
    package var isPlainName: Bool {
        let isPlain = utf8.allSatisfy {
            UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 | 0x20 || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
                || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")].contains($0)
        }
        return isPlain && (1...64).contains(utf8.count)
    }
}

extension Unicode.Scalar {
    fileprivate var isPrintable: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: false
        default: true
        }
    }
}
