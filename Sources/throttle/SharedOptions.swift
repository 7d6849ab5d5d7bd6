import ArgumentParser
import Units

/// The rates of `set` and `group create`.
struct RateOptions: ParsableArguments {
    @Option(rate: "d", "Limit downloads; 'unlimited' for no limit.")
    var down: Rate?

    @Option(rate: "u", "Limit uploads; 'unlimited' for no limit.")
    var up: Rate?
}

/// What `run` and `group create` say where there is neither rate.
let noLimit = ValidationError("No limit given. Use --down RATE, --up RATE or both, such as --down 50k.")

/// How `stats` and `set` name a run.
let runHelp = ArgumentHelp("The run's id, its name, or the process id of its throttle.", valueName: "id")

extension Option where Value == Rate? {
    /// A rate, as each command takes it: `--down RATE`, `-d RATE` or `-dRATE`.
    init(rate letter: Character, _ help: String) {
        self.init(
            name: [.long, .customShort(letter, allowingJoined: true)], parsing: .unconditional,
            help: ArgumentHelp(help, valueName: "rate"), transform: { try valid($0, Rate.init) })
    }
}

extension Option where Value == GroupName? {
    /// A group: `--group NAME`, `-g NAME` or `-gNAME`.
    init(group help: String) {
        self.init(
            name: [.long, .customShort("g", allowingJoined: true)], parsing: .unconditional,
            help: ArgumentHelp(help, valueName: "name"), completion: .shellCommand("throttle group list --names"),
            transform: { try GroupName($0) })
    }
}

/// The name of a group, which is that of a file, too.
struct GroupName {
    let text: String

    init(_ text: String) throws {
        guard text.isPlainName, !text.hasPrefix(".") else {
            throw ValidationError(
                "'\(text)' is not a group: use 1 to 64 letters, digits, '.', '_' and '-', and no '.' at its start")
        }
        self.text = text
    }
}

/// Turns the reason why a value is refused into what the parser prints.
func valid<Value>(_ text: String, _ parse: (String) throws(InvalidQuantity) -> Value) throws -> Value {
    do {
        return try parse(text)
    } catch {
        throw ValidationError("\(error)")
    }
}
