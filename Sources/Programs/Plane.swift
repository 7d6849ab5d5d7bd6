/// One way of holding a limit.
package enum Plane: String, Sendable, CaseIterable {
    /// Packets over the limit are dropped; TCP keeps its own for later.
    case police
    /// TCP's uploads are sent at the limit.
    case pace
    /// The senders of TCP's downloads are kept near the limit by their windows.
    case window
    /// Downloads wait in a queue.
    case shape
    /// Uploads wait in a queue, as some of them can't be paced.
    case queue
    /// Packets are delayed beyond that.
    case delay
}

/// How downloads are limited.
package enum Mode: String, Sendable, CaseIterable {
    /// By a queue where there can be one.
    case auto
    /// By a queue, or not at all.
    case shape
    /// Without touching a device: by TCP's windows and by dropping.
    case police
}
