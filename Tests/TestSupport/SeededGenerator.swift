/// SplitMix64: the same numbers at every run, so that a failure can be seen again.
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) {
        state = seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    /// A number of 1 to `bits` significant bits, each count equally likely; never 0.
    package mutating func magnitude(bits: UInt64) -> UInt64 {
        let top = UInt64.random(in: 0..<bits, using: &self)
        return 1 << top | next() & (1 << top - 1)
    }
}
