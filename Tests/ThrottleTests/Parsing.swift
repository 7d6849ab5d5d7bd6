import ArgumentParser
import Testing

@testable import throttle

/// Parses the words that follow `throttle run`.
func parse(_ words: [String]) throws -> RunCommand {
    try #require(try Throttle.parseAsRoot(["run"] + words) as? RunCommand)
}

func parse(_ words: String...) throws -> RunCommand {
    try parse(words)
}

/// What the user is told of these words; nil if they are accepted.
func refusal(_ words: String...) -> String? {
    do {
        _ = try parse(words)
        return nil
    } catch {
        return Throttle.fullMessage(for: error)
    }
}
