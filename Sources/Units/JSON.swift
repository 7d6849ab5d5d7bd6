import FoundationEssentials

/// `document` as one line of JSON, with its keys sorted. Its numbers must be finite: nothing else here can fail to encode.
public func json(_ document: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return (try? encoder.encode(document)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
}
