import Testing
import Units

@Suite struct RateTests {
    @Test(
        arguments: [
            ("1", 1), ("7B", 7), ("7b", 7), ("7b/s", 7), ("7B/s", 7), ("7/s", 7), ("007", 7),
            ("50k", 50_000), ("50K", 50_000), ("50kB", 50_000), ("50kb/s", 50_000), ("50K/s", 50_000),
            ("1.5M", 1_500_000), ("0.5k", 500), ("0.001k", 1), ("3G", 3_000_000_000), ("2T", 2_000_000_000_000),
            ("1Ki", 1 << 10), ("1kI", 1 << 10), ("512KiB/s", 512 << 10), ("1.5Mib", 3 << 19), ("1Gi/s", 1 << 30),
            ("1Ti", 1 << 40),
            ("8bit", 1), ("800kbit", 100_000), ("800kBit/S", 100_000), ("10mbit/s", 1_250_000), ("1Gibit", 1 << 27),
            ("1kibit/s", 128), ("1.2tbit", 150_000_000_000),
            ("0.5", 1), ("1.4", 1), ("1.6", 2), ("4bit", 1), ("12bit", 2),
            ("9223372036854775807", UInt64(Int64.max)), ("9223372036854775.807k", UInt64(Int64.max)),
            ("8388607Ti", 8_388_607 << 40), ("9223372.036854775807T", UInt64(Int64.max)),
        ] as [(String, UInt64)])
    func `a rate is read exactly`(text: String, bytes: UInt64) throws {
        #expect(try Rate(text) == .bytesPerSecond(bytes))
    }

    @Test(arguments: ["unlimited", "UNLIMITED", "Unlimited"])
    func `unlimited is read in any case`(text: String) throws {
        #expect(try Rate(text) == .unlimited)
    }

    @Test(arguments: [
        "", " ", "k", "B", "/s", "bit", "-1", "+5", "-0", "nan", "NaN", "inf", "infinity", "none", "unlimitedk",
        "1e6", "0x10", "1_000", "1,5", "1'000", "50kk", "50x", "50 k", " 50k", "50k ", "50k\n", "1..5", "1.5.5", ".5k",
        "5.", "5.k", ".", "50P", "50i", "50iB", "50ki/", "50k/", "50k/m", "50kB/", "50kBs", "50kbps", "50bits",
        "50kbits", "50kib it", "50kbi", "50kibi", "50ibit", "50bitk", "50bit/", "kibit", "50/sk", "50%", "50k;ls",
        "50k\0",
        "٥٠k", "５０k", "५०", "5٠", "1٫5k", "5\u{301}0k", "50k\u{301}", "50к", "50\u{212a}", "½", "5²", "∞", "50k💥",
    ])
    func `junk is refused with what was read and what is accepted`(text: String) {
        let error = #expect(throws: InvalidQuantity.self) { try Rate(text) }
        #expect(error?.description.contains("'\(text)' is not a rate") == true)
        #expect(error?.description.contains("50k, 1.5M, 512KiB/s, bits such as 800kbit, or 'unlimited'") == true)
    }

    @Test(arguments: ["0", "0k", "0.0", "0.0001", "0.4", "0.0004k", "1bit", "3.9bit", "0bit/s", "00000000000000000000"])
    func `less than a byte per second is refused`(text: String) {
        let error = #expect(throws: InvalidQuantity.self) { try Rate(text) }
        #expect(error?.description.contains("'\(text)' is less than 1 byte per second") == true)
    }

    @Test(arguments: [
        "9223372036854775808", "18446744073709551615", "9223372036854775.808k", "99999999T", "8388608Ti",
        "99999999999Gibit", "99999999999999999999", "18446744073709551616", "184467440737095516150000000k",
        "9999999999999999999999999999999999999999999999999999999999",
    ])
    func `a rate above 2^63 - 1 is refused`(text: String) {
        let error = #expect(throws: InvalidQuantity.self) { try Rate(text) }
        #expect(error?.description.contains("'\(text)' is too large a rate: at most 2^63 - 1") == true)
    }

    @Test(arguments: [
        (Rate.unlimited, "unlimited"), (.bytesPerSecond(1), "1 B/s"), (.bytesPerSecond(999), "999 B/s"),
        (.bytesPerSecond(50_000), "50.0 kB/s"), (.bytesPerSecond(1_500_000), "1.5 MB/s"),
        (.bytesPerSecond(UInt64(Int64.max)), "9.2 EB/s"),
    ])
    func `a rate is printed for people`(rate: Rate, text: String) {
        #expect("\(rate)" == text)
    }
}
