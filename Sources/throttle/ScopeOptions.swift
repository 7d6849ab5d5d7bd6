import ArgumentParser
import Programs
import Units

/// Which peers are limited.
struct ScopeOptions: ParsableArguments {
    @Option(help: "Which peers are limited.")
    var scope = Peers.all

    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("Don't limit these peers. May be given several times.", valueName: "cidr"),
        transform: { try valid($0, Prefix.init) })
    var except: [Prefix] = []

    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("Limit no peers but these. May be given several times.", valueName: "cidr"),
        transform: { try valid($0, Prefix.init) })
    var only: [Prefix] = []

    func validate() throws {
        let (except, only) = (Set(except), Set(only))
        if let prefix = self.only.first(where: except.contains) {
            throw ValidationError("\(prefix) can't be both in --only and in --except: leave one of them out")
        }
        let count = except.count + only.count
        guard count <= Scope.largest else {
            throw ValidationError(
                "--only and --except have \(count) prefixes, and at most \(Scope.largest) may be given")
        }
    }

    /// For options that are valid.
    var value: Scope { Scope(scope, only: Set(only), except: Set(except)) }
}

extension Peers: ExpressibleByArgument {}
