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

    func validate() throws {
        if rates.down == nil && rates.up == nil {
            throw ValidationError("Nothing to set. Use --down RATE, --up RATE or both.")
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
        let change = try place.set(down: rates.down, up: rates.up)
        let now = Rates(bytesPerSecond: (change.down, change.up))
        print("\(place.id) (\(place.record.name.printable)): down \(now.down), up \(now.up)")
        if let obstacle = change.obstacle {
            Host.tell("throttle: downloads don't wait in a queue: \(obstacle.printable)\n")
        }
    }
}
