import ArgumentParser
import Kernel
import Runs
import Units

/// `throttle cleanup`: what a killed throttle and its killed guard left.
struct CleanupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cleanup",
        abstract: "Remove what runs left that were killed together with their guard.",
        discussion: """
            Removes cgroups, devices, filters and records of dead runs, and nothing of live ones or of others. \
            The exit status is 0, or 1 where something couldn't be removed.
            """)

    @Flag(name: [.long, .customShort("n")], help: "Only say what would be removed.")
    var dryRun = false

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let found = Cleanup(isRemoving: !dryRun).leftovers()
        if json {
            print(document(found))
        } else {
            for item in found where item.failure == nil {
                let fate = item.kept == nil ? dryRun ? "would remove" : "removed" : "left"
                print("\(fate) \(item.description.printable)" + (item.kept.map { ": \($0.printable)" } ?? ""))
            }
            if found.isEmpty { print("nothing to clean up") }
        }
        let failures = found.compactMap(\.failure)
        for failure in failures { Host.tell("throttle: \(failure.printable)\n") }
        if !failures.isEmpty { throw ExitCode(1) }
    }

    private func document(_ found: [Leftover]) -> String {
        struct Item: Encodable {
            let kind: Leftover.Kind
            let name: String
            let note: String?
            let kept: String?
            let error: String?
        }
        struct Document: Encodable {
            let schema = 1
            let dry_run: Bool
            let leftovers: [Item]
        }
        let items = found.map { Item(kind: $0.kind, name: $0.name, note: $0.note, kept: $0.kept, error: $0.failure) }
        return Units.json(Document(dry_run: dryRun, leftovers: items))
    }
}
