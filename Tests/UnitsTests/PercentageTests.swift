import TestSupport
import Testing
import Units

@Suite struct PercentageTests {
    @Test(
        arguments: [
            ("1%", 0.01), ("1", 0.01), ("0.5%", 0.005), ("100%", 1), ("100", 1), ("0", 0), ("0%", 0), ("007%", 0.07),
            ("0.0000001%", 1e-9), ("0.00000001%", 0), ("99.9999999%", 0.999_999_999),
        ] as [(String, Double)])
    func `a percentage is read to a billionth of all`(text: String, share: Double) throws {
        #expect(try Percentage(text).share == share)
    }

    @Test(arguments: [
        "", "%", " ", "-1%", "+1%", "1 %", "1%%", "%1", "1e1", ".5%", "5.%", "nan", "inf", "100.0000001%", "101",
        "1000",
        "99999999999999999999999999999999999999999%", "1,5%", "1/2", "1‰", "٥%", "1%\0", "0.5x",
    ])
    func `junk is refused with what was read and what is accepted`(text: String) {
        let error = #expect(throws: InvalidQuantity.self) { try Percentage(text) }
        #expect(error?.description == "'\(text)' is not a percentage: give 0% to 100%, such as 0.5%")
    }

    @Test(
        arguments: [
            (0, "0%"), (0.01, "1%"), (0.005, "0.5%"), (0.1, "10%"), (1, "100%"), (0.12345, "12.345%"), (1e-9, "0%"),
        ] as [(Double, String)])
    func `a percentage is printed with no more decimals than it needs`(share: Double, text: String) {
        #expect("\(Percentage(share: share))" == text)
    }

    @Test func `a share that somebody made up is 0 to 1`() {
        for (share, expected) in [(-1, 0), (2, 1), (.nan, 0), (.infinity, 1), (0.5, 0.5)] as [(Double, Double)] {
            #expect(Percentage(share: share).share == expected)
        }
    }

    @Test func `what is printed is read again`() throws {
        for thousandths in stride(from: 0, through: 100_000, by: 7) {
            let percentage = Percentage(share: Double(thousandths) / 100_000)
            #expect(try abs(Percentage("\(percentage)").share - percentage.share) < 1e-9)
        }
    }
}
