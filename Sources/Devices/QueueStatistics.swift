/// What a queue holds and did so far.
public struct QueueStatistics: Sendable, Equatable {
    /// The class of TCP, and that of all else.
    public let tcp: Leaf
    public let rest: Leaf

    /// One of its two classes. Bytes are those of frames; each segment of a large packet has its headers.
    public struct Leaf: Sendable, Equatable {
        /// Since the queue was made.
        public var passedPackets: UInt64 = 0
        public var passedBytes: UInt64 = 0
        /// Now.
        public var queuedPackets: UInt64 = 0
        public var queuedBytes: UInt64 = 0
        /// Since the queue was made.
        public var droppedPackets: UInt64 = 0
    }
}
