import Devices
import Logging
import Programs

/// Removes the queues that dead runs left in this network namespace.
package func removeDeadQueues(_ log: Logger) {
    guard let namespace = try? NetworkNamespace.current(),
        let dead = try? DeadQueues(in: namespace, filterNames: QueueProgram.filterNames)
    else { return }
    for leftover in dead.leftovers(isRemoving: true) {
        if let failure = leftover.failure {
            log.warning("\(failure)")
        } else {
            log.debug("removed \(leftover.description), left by a dead run")
        }
    }
}
