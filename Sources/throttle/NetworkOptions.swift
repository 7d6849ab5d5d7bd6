import ArgumentParser
import Programs
import Units

/// What makes a network slow besides its rate, for `run` and `set`.
struct NetworkOptions: ParsableArguments {
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Add so much to each round trip, such as 100ms.", valueName: "time"),
        transform: { try valid($0, TimeSpan.init) })
    var rtt: TimeSpan?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Vary that by so much, more or less, by chance.", valueName: "time"),
        transform: { try valid($0, TimeSpan.init) })
    var jitter: TimeSpan?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Lose so many packets in each direction, such as 1%.", valueName: "percent"),
        transform: { try valid($0, Percentage.init) })
    var loss: Percentage?

    var isGiven: Bool { rtt != nil || jitter != nil || loss != nil }

    func impairment(beside other: Impairment) throws -> Impairment {
        let impairment = other.changed(rtt: rtt, jitter: jitter, loss: loss)
        if let fault = impairment.fault { throw ValidationError(fault) }
        return impairment
    }
}

/// What makes the network of `run` slow.
struct SlowNetworkOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Have the network be like this one of throttle profiles.", valueName: "name"),
        completion: .shellCommand("throttle profiles --names"))
    var profile: String?

    @OptionGroup var network: NetworkOptions
}
