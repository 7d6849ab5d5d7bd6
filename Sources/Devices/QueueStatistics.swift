/// What a queue holds and did so far.
package struct QueueStatistics: Sendable, Equatable {
    /// The class of TCP, and that of all else.
    package let tcp: Leaf
    package let rest: Leaf

    /// One of its two classes. Bytes are those of frames; each segment of a large packet has its headers.
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
