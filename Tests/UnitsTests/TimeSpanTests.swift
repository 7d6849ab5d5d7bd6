import Testing
import Units

@Suite struct TimeSpanTests {
    @Test(
        arguments: [
            ("200ms", 200_000_000), ("200MS", 200_000_000), ("1.5s", 1_500_000_000), ("500us", 500_000),
            ("60S", 60_000_000_000), ("0.0015us", 2), ("1.5us", 1500), ("0s", 0),
            ("18446744073.709551615s", UInt64.max), ("10m", 600_000_000_000), ("1.5h", 5_400_000_000_000),
        ] as [(String, UInt64)])
    func `a time is read exactly`(text: String, nanoseconds: UInt64) throws {
        #expect(try TimeSpan(text) == TimeSpan(nanoseconds: nanoseconds))
    }

    @Test(arguments: [
        "", "200", "ms", "s", "-1s", "+1s", "1e3ms", "1.ms", ".5s", "200 ms", "5d", "5min", "5ns", "5sec", "inf", "nan",
        "٢٠٠ms", "18446744073709551615s", "18446744073.709551616s",
    ])
    func `junk is refused with what was read and what is accepted`(text: String) {
        let error = #expect(throws: InvalidQuantity.self) { try TimeSpan(text) }
        #expect(
            error?.description == "'\(text)' is not a time: give a number with us, ms, s, m or h, such as 200ms")
    }

    @Test(
        arguments: [
            (0, "0ms"), (1000, "0.001ms"), (500_000, "0.5ms"), (200_000_000, "200ms"), (100_000_000, "100ms"),
            (1_500_000, "1.5ms"), (999_999_000, "999.999ms"), (1_000_000_000, "1s"), (1_500_000_000, "1.5s"),
            (10_000_000_000, "10s"), (5_400_000_000_000, "5400s"),
        ] as [(UInt64, String)])
    func `a time is printed with no more decimals than it needs, and read again`(
        nanoseconds: UInt64, text: String
    ) throws {
        #expect("\(TimeSpan(nanoseconds: nanoseconds))" == text)
        #expect(try TimeSpan(text) == TimeSpan(nanoseconds: nanoseconds))
    }

    @Test func `seconds are a fraction`() {
        #expect(TimeSpan(nanoseconds: 1_500_000_000).seconds == 1.5)
    }
}
