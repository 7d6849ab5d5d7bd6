/// One way of holding a limit.
public enum Plane: String, Sendable, CaseIterable {
    /// Packets over the limit are dropped; TCP keeps its own for later.
    case police
    /// TCP's uploads are sent at the limit.
    case pace
    /// The senders of TCP's downloads are kept near the limit by their windows.
    case window
    /// Downloads wait in a queue.
    case shape
}
