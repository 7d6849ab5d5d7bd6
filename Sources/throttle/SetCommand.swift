import ArgumentParser
import Control
import Kernel
import Programs
import Units

/// `throttle set`: new limits for a live run, or for a group.
struct SetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Change the limits of a live run, or of a group.",
        discussion: "What isn't named stays. The new limits hold from the next packet on, for both directions at once.")

    @Argument(help: runHelp)
    var id: String?

    @Option(group: "The group whose budget to change, instead of a run's limits.")
    var group: GroupName?

    @OptionGroup var rates: RateOptions
    @OptionGroup var network: NetworkOptions

    @Flag(inversion: .prefixedNo, help: "Take only what nobody else wants, or no more so.")
    var background: Bool?

    func validate() throws {
        if rates.down == nil && rates.up == nil && !network.isGiven && background == nil {
            throw ValidationError("Nothing to set. Use --down RATE, --up RATE, --rtt TIME and the like.")
        }
        if group != nil && (network.isGiven || background != nil) {
            throw ValidationError("--rtt, --jitter, --loss and --background are a run's own, not a group's.")
        }
        if (id == nil) == (group == nil) { throw ValidationError("Give either a run or --group NAME.") }
    }

    func run() throws {
        if let group {
            let changed = try RunGroups().set(group.text, down: rates.down, up: rates.up)
            print("group \(group.text): down \(changed.down), up \(changed.up)")
            return
        }
        let place = try LiveRuns().find(id ?? "")
        let impairment = ImpairmentChange(rtt: network.rtt, jitter: network.jitter, loss: network.loss)
        let change = try place.set(
            down: rates.down, up: rates.up, network.isGiven ? impairment : nil, background: background)
        let now = Rates(bytesPerSecond: (change.down, change.up))
        let slow = change.impairment.map { ", \($0)" } ?? ""
        print("\(place.id) (\(place.record.name.printable)): down \(now.down), up \(now.up)\(slow)".printable)
        if let obstacle = change.obstacle {
            Host.tell("throttle: downloads don't wait in a queue: \(obstacle.printable)\n")
        }
    }
}
