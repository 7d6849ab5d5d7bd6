import FoundationEssentials

/// `document` as one line of JSON, with its keys sorted, that a terminal may show. Its numbers must be finite: nothing
/// else here can fail to encode.
package func json(_ document: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return (try? encoder.encode(document)).map { String(decoding: $0, as: UTF8.self).printableJSON } ?? "{}"
}

/// What these bytes say in JSON; nil where that is nothing of this type. They may be anybody's.
package func decoded<Value: Decodable>(_ bytes: [UInt8]) -> Value? {
    // A blank behind them, as Foundation traps where data end with the bracket that is nested too deeply, the 513th.
    try? JSONDecoder().decode(Value.self, from: Data(bytes + [UInt8(ascii: " ")]))
}
