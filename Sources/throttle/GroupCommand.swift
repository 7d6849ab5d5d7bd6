import ArgumentParser
import Control
import Kernel
import Units

/// `throttle group`: budgets that several runs share.
struct GroupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group", abstract: "Create, list and delete groups of runs that share one budget.",
        discussion: """
            A group also begins with the first run that names it by --group, with that run's limits, and ends with its \
            last. One that was created stays until it is deleted.
            """,
        subcommands: [CreateCommand.self, ListGroupsCommand.self, DeleteCommand.self])
}

/// `throttle group create`.
struct CreateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a group that stays without runs, too.")

    @Argument(help: ArgumentHelp("What runs call it.", valueName: "name"), transform: { try GroupName($0) })
    var name: GroupName

    @OptionGroup var rates: RateOptions

    func validate() throws {
        if rates.down == nil && rates.up == nil { throw noLimit }
    }

    func run() throws {
        try RunGroups().create(name.text, down: rates.down ?? .unlimited, up: rates.up ?? .unlimited)
    }
}

/// `throttle group delete`.
struct DeleteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a group; what runs in it goes on in it to its end.")

    @Argument(help: ArgumentHelp("The group.", valueName: "name"), transform: { try GroupName($0) })
    var name: GroupName

    func run() throws { try RunGroups().delete(name.text) }
}

/// `throttle group list`.
struct ListGroupsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List groups: those that were created, and those that have runs.",
        aliases: ["ls"])

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(help: ArgumentHelp("Print names only, one in a line.", visibility: .hidden))
    var names = false

    private static let columns: [Table.Column] = [
        .init(title: "NAME"), .init(title: "RUNS", isNumber: true), .init(title: "DOWN", isNumber: true),
        .init(title: "UP", isNumber: true), .init(title: "STAYS"),
    ]

    func run() throws {
        let all = try RunGroups()
        if names { return all.names().forEach { print($0) } }
        let groups = all.all()
        print(json ? document(groups) : table(groups))
    }

    private func table(_ groups: [RunGroup]) -> String {
        func text(_ rate: Rate?) -> String { rate.map { "\($0)" } ?? "-" }
        let rows = groups.map {
            [$0.name, "\($0.runs)", text($0.rates?.down), text($0.rates?.up), $0.stays ? "yes" : "no"]
        }
        return Table(columns: ListGroupsCommand.columns, rows: rows).text(width: Host.terminalSize(of: 1)?.columns)
    }

    private func document(_ groups: [RunGroup]) -> String {
        struct Group: Encodable {
            let name: String
            let runs: Int
            let stays: Bool
            /// Whether its budgets are: else both are absent, as where there is none.
            let known: Bool
            let download_limit_bytes_per_second: UInt64?
            let upload_limit_bytes_per_second: UInt64?
        }
        struct Document: Encodable {
            let schema = 1
            let groups: [Group]
        }
        let groups = groups.map {
            Group(
                name: $0.name, runs: $0.runs, stays: $0.stays, known: $0.rates != nil,
                download_limit_bytes_per_second: $0.rates?.down.bytesPerSecond,
                upload_limit_bytes_per_second: $0.rates?.up.bytesPerSecond)
        }
        return Units.json(Document(groups: groups))
    }
}
