import ArgumentParser
import Glibc
import Kernel
import Programs
import Reports
import Runs
import Testing

@testable import throttle

/// What is written by hand about the command line knows all of it.
@Suite struct DocumentationTests {
    private static func text(_ path: String) throws -> String {
        try readText(#filePath.replacing("Tests/ThrottleTests/DocumentationTests.swift", with: path))
    }

    /// Each file, what it has before the name of an option, and between the values of one.
    static let completions = [
        ("completions/throttle.bash", "--", " "), ("completions/_throttle", "--", " "),
        ("completions/throttle.fish", "-l ", " "),
    ]

    /// Options of every command: throttle(1) has them.
    static let common: Set<String> = ["help", "version"]

    static let commands = Throttle.configuration.subcommands.compactMap { $0.configuration.commandName }

    /// The long options in the help of a command, and of those below it.
    private static func options(of command: any ParsableCommand.Type) -> Set<String> {
        let lines = Throttle.helpMessage(for: command).split(separator: "\n").filter { $0.hasPrefix("  -") }
        let below = command.configuration.subcommands.map { options(of: $0) }
        return below.reduce(Set(lines.flatMap { $0.matches(of: /--([a-z-]+)/).map { String($0.1) } })) { $0.union($1) }
    }

    /// The long options that have an entry in a manual page.
    private static func entries(_ page: String) -> Set<String> {
        let items = page.split(separator: "\n").filter { $0.hasPrefix(".It Fl ") }
        return Set(items.flatMap { $0.matches(of: /Fl -([a-z-]+)/).map { String($0.1) } })
    }

    private static let values = [
        Mode.allCases.map(\.rawValue), Linger.allCases.map(\.rawValue), AttachChoice.allCases.map(\.rawValue),
        Counting.allCases.map(\.rawValue), Peers.allCases.map(\.rawValue),
    ]

    @Test(arguments: completions)
    func `every subcommand, option and value can be completed`(
        file: String, prefix: String, separator: String
    ) throws {
        let text = try DocumentationTests.text(file)
        for command in Throttle.configuration.subcommands {
            let name = try #require(command.configuration.commandName)
            #expect(text.contains(try Regex("\\b\(name)\\b")), "\(name)")
            let options = DocumentationTests.options(of: command)
            #expect(options.isSuperset(of: DocumentationTests.common))
            for option in options { #expect(text.contains(try Regex("\(prefix)\(option)(?![a-z-])")), "\(option)") }
        }
        for values in DocumentationTests.values { #expect(text.contains(values.joined(separator: separator))) }
    }

    @Test func `each subcommand's page has its options and no others`() throws {
        #expect(!DocumentationTests.commands.isEmpty)
        for command in Throttle.configuration.subcommands {
            let name = try #require(command.configuration.commandName)
            let page = try DocumentationTests.text("man/throttle-\(name).1")
            let options = DocumentationTests.options(of: command).subtracting(DocumentationTests.common)
            #expect(DocumentationTests.entries(page) == options, "\(name)")
        }
        let page = try DocumentationTests.text("man/throttle.1")
        #expect(DocumentationTests.entries(page) == DocumentationTests.common)
        let run = try DocumentationTests.text("man/throttle-run.1")
        for values in DocumentationTests.values { #expect(run.contains("Cm \(values.joined(separator: " | "))")) }
    }

    /// The first groups of all matches.
    private static func found(_ pattern: String, in text: String) throws -> [String] {
        text.matches(of: try Regex(pattern)).map { String($0.output[1].substring ?? "") }
    }

    /// mandoc checks none of it.
    @Test func `what a manual page refers to is there`() throws {
        let folder = #filePath.replacing("Tests/ThrottleTests/DocumentationTests.swift", with: "man")
        let names = try Descriptor(opening: folder, O_RDONLY | O_DIRECTORY).entries(CInt(DT_REG))
            .filter { $0.hasSuffix(".1") }.map { String($0.dropLast(2)) }
        #expect(Set(names) == Set(DocumentationTests.commands.map { "throttle-\($0)" } + ["throttle"]))
        var sections: [String: Set<String>] = [:]
        for name in names {
            sections[name] = Set(try DocumentationTests.found("(?m)^\\.S[hs] (.+)$", in: page(name)))
        }
        for name in names {
            let headings = try DocumentationTests.found("\\bSx ([^,.;\\n]*[^ ,.;\\n])", in: page(name))
            #expect(sections[name]?.isSuperset(of: headings) == true, "\(name): \(headings)")
            let others = try DocumentationTests.found("\\bXr (throttle\\S*) 1\\b", in: page(name))
            #expect(Set(names).isSuperset(of: others), "\(name): \(others)")
            #expect(name == "throttle" ? Set(others).count == names.count - 1 : others.contains("throttle"), "\(name)")
            // A section of another page is emphasised, and that page comes behind it.
            let parts = try page(name).split(separator: "\n.Em ").dropFirst().map { $0.split(separator: "\n") }
            for part in parts where part.count > 2 && part[1] == "in" && part[2].hasPrefix(".Xr throttle") {
                let other = String(part[2].dropFirst(".Xr ".count).prefix { $0 != " " })
                #expect(sections[other]?.contains(String(part[0])) == true, "\(name): \(part[0])")
            }
        }
    }

    private func page(_ name: String) throws -> String {
        try DocumentationTests.text("man/\(name).1")
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

    private static let root = #filePath.replacing("/Tests/ThrottleTests/DocumentationTests.swift", with: "")

    /// Those for people, with their paths from the root.
    private static func documents() throws -> [String] {
        let others = try Descriptor(opening: "\(root)/docs", O_RDONLY | O_DIRECTORY).entries(CInt(DT_REG))
        return ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
            + others.filter { $0.hasSuffix(".md") }.map { "docs/\($0)" }
    }

    /// Without comments and blocks of code, which are no text.
    private static func prose(_ document: String) throws -> String {
        try text(document).replacing(/(?s)<!--.*?-->/, with: "").replacing(/(?ms)^ *```.*?^ *```$/, with: "")
    }

    /// What GitHub makes of the headings.
    private static func anchors(_ document: String) throws -> [String] {
        try prose(document).matches(of: /(?m)^#+ (.+)$/).map { heading in
            let kept = heading.1.lowercased().filter { $0.isLetter || $0.isNumber || "-_ ".contains($0) }
            return kept.replacing(" ", with: "-")
        }
    }

    /// A path with the `..` in it resolved.
    private static func resolved(_ path: String, in document: String) -> String {
        let folder = document.split(separator: "/").dropLast()
        return path.split(separator: "/").reduce(into: Array(folder)) { parts, part in
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }.joined(separator: "/")
    }

    @Test func `links between documents lead somewhere`() throws {
        var count = 0
        for document in try DocumentationTests.documents() {
            for link in try DocumentationTests.prose(document).matches(of: /\]\(([^)#\s]*)(?:#([^)\s]+))?\)/) {
                let path = String(link.1)
                if path.contains("://") { continue }
                count += 1
                let target = path.isEmpty ? document : DocumentationTests.resolved(path, in: document)
                guard access("\(DocumentationTests.root)/\(target)", F_OK) == 0 else {
                    Issue.record("\(document): no \(target)")
                    continue
                }
                guard let anchor = link.2 else { continue }
                #expect(
                    try DocumentationTests.anchors(target).contains(String(anchor)), "\(document): \(target)#\(anchor)")
            }
        }
        #expect(count > 40)
    }

    @Test func `files that documents name are there`() throws {
        let pattern = /`((?:Sources|Tests|bpf|docs|scripts|man|completions)\/[\w.\/-]+)`/
        var count = 0
        for document in try DocumentationTests.documents() {
            for name in try DocumentationTests.prose(document).matches(of: pattern) {
                count += 1
                #expect(access("\(DocumentationTests.root)/\(name.1)", F_OK) == 0, "\(document): \(name.1)")
            }
        }
        #expect(count > 20)
    }
}
