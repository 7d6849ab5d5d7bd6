import Testing
import Units

@Suite struct JSONTests {
    @Test func `what is written is read`() {
        let written: [String: [UInt64]] = ["z": [.max, 0], "a": [(1 << 53) + 1]]
        #expect(json(written) == #"{"a":[9007199254740993],"z":[18446744073709551615,0]}"#)
        #expect(decoded(Array(json(written).utf8)) == written)
    }

    /// Foundation traps at the 513th bracket, if the data end there.
    @Test(arguments: [0, 1, 512, 513, 514, 100_000])
    func `nesting of any depth is only refused`(depth: Int) {
        #expect(decoded([UInt8](repeating: UInt8(ascii: "["), count: depth)) == [Int]?.none)
    }
}
