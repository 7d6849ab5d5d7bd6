/// What was seen since the last step, in one direction.
package struct Observation {
    /// Bytes of the run that arrived: acknowledged ones of an upload, as those that were only sent may still wait.
    package var bytes: UInt64
    /// Since the last step; best `YieldControl.period`.
    package var seconds: Double
    /// Nil where no round trip was measured.
    package var delay: Delay?
    /// Packets known to be lost; 0 where that can't be known, as it can't for downloads.
    package var losses: UInt64
    /// Bytes that others moved in this direction on the same device.
    package var othersBytes: UInt64

    package init(bytes: UInt64, seconds: Double, delay: Delay?, losses: UInt64 = 0, othersBytes: UInt64 = 0) {
        self.bytes = bytes
        self.seconds = seconds
        self.delay = delay
        self.losses = losses
        self.othersBytes = othersBytes
    }
}

/// What the round trips tell that ended since the last step, over all connections of the run.
package struct Delay {
    /// Seconds: the smallest that a round trip was above the least ever known to the same address. By address and not by
    /// connection, as a new connection would take the present queue for none.
    package var queueing: Double
    /// Seconds: the least round trip ever known to that address.
    package var base: Double
    /// Round trips that were measured; each of several confirms the others.
    package var samples: Int

    package init(queueing: Double, base: Double, samples: Int) {
        self.queueing = queueing
        self.base = base
        self.samples = samples
    }
}
