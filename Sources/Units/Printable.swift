extension String {
    /// The same for a terminal, on one line: what would move its cursor, or begin a line, is escaped (`\n`, `\u{1B}`).
    public var printable: String {
        unicodeScalars.reduce(into: "") { text, scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: text += scalar.escaped(asASCII: true)
            default: text.unicodeScalars.append(scalar)
            }
        }
    }
}
