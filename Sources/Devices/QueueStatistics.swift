/// What a queue holds and did so far.
package struct QueueStatistics: Sendable, Equatable {
    /// The class of TCP, that of all else, and that of what isn't delayed where all else is. What is delayed doesn't wait yet.
    package let tcp: Leaf
    package let rest: Leaf
    package let near: Leaf
    /// That of the first packets of each flow, where the kernel has no fq_codel.
    package let fresh: Leaf

    private var all: [Leaf] { [tcp, rest, near, fresh] }
    package var passedBytes: UInt64 { all.reduce(0) { $0 + $1.passedBytes } }
    package var queuedBytes: UInt64 { all.reduce(0) { $0 + $1.queuedBytes } }
    package var droppedPackets: UInt64 { all.reduce(0) { $0 + $1.droppedPackets } }

    /// One of its classes. Bytes are those of frames; each segment of a large packet has its headers.
    package struct Leaf: Sendable, Equatable {
        /// Since the queue was made.
        package var passedPackets: UInt64 = 0
        package var passedBytes: UInt64 = 0
        /// Now.
        package var queuedPackets: UInt64 = 0
        package var queuedBytes: UInt64 = 0
        /// Since the queue was made.
        package var droppedPackets: UInt64 = 0
    }
}
