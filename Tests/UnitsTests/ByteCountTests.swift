import Testing
import Units

@Suite struct ByteCountTests {
    @Test(
        arguments: [
            ("1", 1), ("7B", 7), ("7b", 7), ("500M", 500_000_000), ("500mb", 500_000_000), ("1.5GB", 1_500_000_000),
            ("200MiB", 200 << 20), ("1Ki", 1 << 10), ("1.5kib", 1536), ("2T", 2_000_000_000_000), ("0.5k", 500),
            ("0.5", 1), ("1.4", 1), ("9223372036854775807", UInt64(Int64.max)),
        ] as [(String, UInt64)])
    func `an amount is read exactly`(text: String, bytes: UInt64) throws {
        #expect(try ByteCount(text).bytes == bytes)
    }

    @Test(arguments: [
        "", " ", "M", "B", "0", "0.4", "-1", "+5", "1e6", "0x10", "50 k", "50kk", "50x", "50P", "50kbit", "50k/s",
        "50kB/s", "50bps", "unlimited", "50%", "5.", ".5k", "50iB", "٥٠k", "9223372036854775808", "8388608Ti",
        "99999999999999999999999999999999999999999", "50k\0",
    ])
    func `junk, nothing and too much are refused with what was read and what is accepted`(text: String) {
        let error = #expect(throws: InvalidQuantity.self) { try ByteCount(text) }
        #expect(
            error?.description == "'\(text)' is no amount of data: give bytes such as 500M, 1.5GB, 200MiB")
    }
}
