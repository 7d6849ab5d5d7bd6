import ArgumentParser
import Glibc
import Kernel
import Programs
import Runs
import Testing

@testable import throttle

/// What is written by hand about the command line knows all of it.
@Suite struct DocumentationTests {
    private static func text(_ path: String) throws -> String {
        try readText(#filePath.replacing("Tests/ThrottleTests/DocumentationTests.swift", with: path))
    }

    /// Each file, what it has before the name of an option, and between the values of one.
    static let files = [
        ("man/throttle.1", "Fl -", " | "), ("completions/throttle.bash", "--", " "),
        ("completions/_throttle", "--", " "),
        ("completions/throttle.fish", "-l ", " "),
    ]

    /// The long options in the help of a command.
    private static func options(of command: any ParsableCommand.Type) -> Set<String> {
        let lines = Throttle.helpMessage(for: command).split(separator: "\n").filter { $0.hasPrefix("  -") }
        return Set(lines.flatMap { $0.matches(of: /--([a-z-]+)/).map { String($0.1) } })
    }

    @Test(arguments: files)
    func `every subcommand and option is there`(file: String, prefix: String, separator: String) throws {
        let text = try DocumentationTests.text(file)
        let commands = Throttle.configuration.subcommands
        #expect(!commands.isEmpty)
        for command in commands {
            let name = try #require(command.configuration.commandName)
            #expect(text.contains(try Regex("\\b\(name)\\b")), "\(name)")
            let options = DocumentationTests.options(of: command)
            #expect(options.contains("help"))
            for option in options { #expect(text.contains(try Regex("\(prefix)\(option)(?![a-z-])")), "\(option)") }
        }
    }

    @Test(arguments: files)
    func `every value is there`(file: String, prefix: String, separator: String) throws {
        let text = try DocumentationTests.text(file)
        for values in [
            Mode.allCases.map(\.rawValue), Linger.allCases.map(\.rawValue), AttachChoice.allCases.map(\.rawValue),
            Counting.allCases.map(\.rawValue),
        ] {
            let list = values.joined(separator: separator)
            #expect(text.contains(list), "\(list)")
        }
    }

    @Test func `the tests that the page on security names are there`() throws {
        let tests = #filePath.replacing("/ThrottleTests/DocumentationTests.swift", with: "")
        let folders = try Descriptor(opening: tests, O_RDONLY | O_DIRECTORY).entries(CInt(DT_DIR))
        let named = try DocumentationTests.text("SECURITY.md").matches(of: /\*(\w+Tests)(?:\/([^*]+))?\*/)
        #expect(named.count > 30)
        for name in named {
            let files = folders.compactMap { try? readText("\(tests)/\($0)/\(name.1).swift") }
            #expect(!files.isEmpty, "\(name.1)")
            guard let test = name.2 else { continue }
            #expect(files.contains { $0.contains("func \(test)(") || $0.contains("func `\(test)`(") }, "\(test)")
        }
    }
}
