import Glibc
import TestSupport
import Testing
import Units

@testable import throttle

@Suite(.serialized) struct CommandLineFuzzTests {
    @Test(arguments: Fuzzing.seeds)
    func `words and variables are taken, or refused in one line`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            try Fuzzing.run(seed: seed, times: 30) { random in
                for variable in ["THROTTLE_DOWN", "THROTTLE_UP"] { random.setVariable(variable) }
                let words = (0...random.below(7)).map { _ in String(decoding: random.word(), as: UTF8.self) }
                let input = "seed \(seed): \(words.map(\.debugDescription))"
                do {
                    guard let run = try parsed(words) else { return }
                    #expect(Main.normalized(words).suffix(run.command.count) == run.command, "\(input)")
                    #expect(![[], ["--"]].contains(run.command), "\(input)")
                    let rates = try run.limits.rates()
                    for case .bytesPerSecond(let rate) in [rates.down, rates.up] {
                        #expect((1...UInt64(Int64.max)).contains(rate), "\(input)")
                    }
                } catch {
                    let isHelp = Throttle.exitCode(for: error) == .success
                    #expect(isHelp || isOneLine(Main.complaint(about: error)), "\(input)")
                }
            }
        }
    }

    /// The binary with words that can't start a run.
    @Test(arguments: Fuzzing.seeds)
    func `the binary ends with status 125 and one line, or helps`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            try Fuzzing.run(seed: seed, times: 400) { random in
                let words = random.wordsWithoutCommand()
                let variables = Corpus.bytes(["THROTTLE_DOWN=", "THROTTLE_UP="]).map { $0 + random.value() }
                let (ending, output, errors) = try Binary.run(words, variables)
                let input = (variables + words).map { String(decoding: $0, as: UTF8.self).debugDescription }
                let hasHelped = ending == .exited(0) && !output.isEmpty && errors.isEmpty
                let hasFailed = ending == .exited(125) && output.isEmpty && isOneLine(errors)
                #expect(hasHelped || hasFailed, "seed \(seed): \(input): \(ending) \(errors.debugDescription)")
            }
        }
    }
}

/// Parses words as main does; nil where they are no run.
private func parsed(_ words: [String]) throws -> RunCommand? {
    let words = Main.normalized(words)
    if words.first == "run" { return try RunCommand.parse(Array(words.dropFirst())) }
    return try Throttle.parseAsRoot(words) as? RunCommand
}

/// Whether this is one whole line of ours that does nothing to a terminal.
private func isOneLine(_ text: String) -> Bool {
    let line = text.unicodeScalars.dropLast()
    return text.hasPrefix("throttle: ") && text.unicodeScalars.last == "\n" && line.count > 10
        && line.allSatisfy { ![.control, .lineSeparator, .paragraphSeparator].contains($0.properties.generalCategory) }
}

extension SeededGenerator {
    fileprivate mutating func word() -> [UInt8] {
        let corpus = Corpus.bytes(pick([Corpus.options, Corpus.options, Corpus.values, Corpus.words]))
        return below(3) == 0 ? mutated(corpus).filter { $0 != 0 } : pick(corpus)
    }

    fileprivate mutating func value() -> [UInt8] { mutated(Corpus.bytes(Corpus.values)).filter { $0 != 0 } }

    /// Words that can't start a run: the first is no option, or each is joined to its value.
    fileprivate mutating func wordsWithoutCommand() -> [[UInt8]] {
        if below(2) == 0 { return Corpus.bytes(["--no-such-option"]) + (0..<below(6)).map { _ in word() } }
        let first = Corpus.bytes(["run", "help", "-h", "--help", "--version", "--generate-completion-script=bash"])
        let options = Corpus.bytes(Corpus.options.filter { $0.hasPrefix("--") }.map { $0 + "=" })
        return (below(4) == 0 ? [pick(first)] : []) + (0...below(4)).map { _ in pick(options) + value() }
    }

    fileprivate mutating func setVariable(_ name: String) {
        if below(2) == 0 { unsetenv(name) } else { setenv(name, value().map { CChar(bitPattern: $0) } + [0], 1) }
    }
}
