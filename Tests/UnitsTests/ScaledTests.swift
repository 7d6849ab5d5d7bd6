import TestSupport
import Testing
import Units

@Suite struct ScaledTests {
    @Test(arguments: [
        (0, "0 B"), (1, "1 B"), (999, "999 B"), (0.5, "0.5 B"), (48.94, "48.9 B"), (999.94, "999.9 B"),
        (999.95, "1.0 kB"), (1000, "1.0 kB"), (48_949, "48.9 kB"), (48_950.1, "49.0 kB"), (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1.5e6, "1.5 MB"), (2.5e9, "2.5 GB"), (1e12, "1.0 TB"), (1e15, "1.0 PB"), (1e18, "1.0 EB"),
        (Double(UInt64.max), "18.4 EB"), (1e21, "1000.0 EB"),
    ])
    func `a number has the prefix that people use`(value: Double, text: String) {
        #expect("\(Scaled(value, unit: "B"))" == text)
    }

    @Test(arguments: [
        (0, 5, "0 of 5 B"), (3.25, 5, "3.3 of 5 B"), (474_900, 500_000, "474.9 of 500.0 kB"),
        (0, 50_000, "0.0 of 50.0 kB"), (1_500_000, 500_000, "1500.0 of 500.0 kB"), (12, 5e9, "12 B of 5.0 GB"),
        (5e9, 1000, "5.0 GB of 1.0 kB"), (Double(UInt64.max), Double(Int64.max), "18.4 of 9.2 EB"),
        (Double(UInt64.max), 1, "18.4 EB of 1 B"),
    ])
    func `a part has the prefix of the whole where it shows in that`(part: Double, whole: Double, text: String) {
        #expect("\(Scaled(part, of: whole, unit: "B"))" == text)
    }

    @Test(arguments: [
        (0, 2, "0.00"), (1, 2, "1.00"), (0.005, 2, "0.01"), (0.0049, 2, "0.00"), (0.98, 2, "0.98"), (0.999, 2, "1.00"),
        (12.34, 1, "12.3"), (9.96, 1, "10.0"), (1.05, 3, "1.050"), (1e12, 1, "1000000000000.0"),
    ])
    func `a number has exactly the decimals asked for`(value: Double, digits: Int, text: String) {
        #expect(fixed(value, digits: digits) == text)
    }

    @Test func `fixed decimals are off by half a unit of the last at most`() throws {
        var random = SeededGenerator(seed: 6)
        for _ in 0..<1000 {
            let value = Double.random(in: 0..<1e6, using: &random)
            #expect(abs(try #require(Double(fixed(value, digits: 3))) - value) <= 0.000_500_1)
        }
    }
}
