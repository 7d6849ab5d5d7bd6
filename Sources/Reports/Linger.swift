/// What happens to processes that outlive the command.
package enum Linger: String, Sendable, CaseIterable {
    /// They stay limited to their end; nobody waits for them.
    case keep
    /// The run goes on until all have ended.
    case wait
    /// They go on unlimited, in the caller's cgroup.
    case release
    case kill
}
