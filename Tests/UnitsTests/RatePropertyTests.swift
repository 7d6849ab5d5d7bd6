import TestSupport
import Testing
import Units

@Suite struct RatePropertyTests {
    static let factors: [(unit: String, factor: UInt64)] = [
        ("", 1), ("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000),
        ("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40),
    ]

    @Test(arguments: factors)
    func `a whole number is multiplied by its unit`(unit: String, factor: UInt64) throws {
        var random = SeededGenerator(seed: factor)
        for _ in 0..<300 {
            let number = random.magnitude(bits: 63)
            let (product, overflow) = number.multipliedReportingOverflow(by: factor)
            for suffix in ["", "B", "b/s", "/s"] {
                let text = "\(number)\(unit)\(suffix)"
                if overflow || product > UInt64(Int64.max) {
                    #expect(throws: InvalidQuantity.self, "\(text)") { try Rate(text) }
                } else {
                    #expect(try Rate(text) == .bytesPerSecond(product), "\(text)")
                }
            }
        }
    }

    @Test(arguments: factors)
    func `bits are an eighth, rounded to the nearest`(unit: String, factor: UInt64) throws {
        var random = SeededGenerator(seed: factor + 1)
        for _ in 0..<300 {
            let number = random.magnitude(bits: 23) + 7
            let bytes = UInt64((UInt128(number) * UInt128(factor) + 4) / 8)
            #expect(try Rate("\(number)\(unit)bit") == .bytesPerSecond(bytes), "\(number)\(unit)bit")
            #expect(try Rate("\(number)\(unit)bit/s") == .bytesPerSecond(bytes), "\(number)\(unit)bit/s")
        }
    }

    @Test(arguments: factors.dropFirst())
    func `a fraction is exact`(unit: String, factor: UInt64) throws {
        var random = SeededGenerator(seed: factor + 2)
        for _ in 0..<300 {
            let digits = Int.random(in: 1...9, using: &random)
            let scale = (0..<digits).reduce(UInt128(1)) { power, _ in power * 10 }
            let thousandths = UInt128(random.magnitude(bits: 50))
            let fraction = String(thousandths % scale)
            let text =
                "\(thousandths / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction + unit
            let bytes = (thousandths * UInt128(factor) + scale / 2) / scale
            if bytes == 0 || bytes > UInt128(Int64.max) {
                #expect(throws: InvalidQuantity.self, "\(text)") { try Rate(text) }
            } else {
                #expect(try Rate(text) == .bytesPerSecond(UInt64(bytes)), "\(text)")
            }
        }
    }

    @Test func `case makes no difference`() throws {
        var random = SeededGenerator(seed: 4)
        for (unit, _) in RatePropertyTests.factors {
            for suffix in ["", "B", "B/s", "/s", "bit", "bit/s"] {
                let text = "\(Int.random(in: 8...8_000_000, using: &random))\(unit)\(suffix)"
                let mixed = String(text.map { Bool.random(using: &random) ? Character($0.uppercased()) : $0 })
                let expected = try Rate(text)
                #expect(try Rate(text.uppercased()) == expected)
                #expect(try Rate(text.lowercased()) == expected)
                #expect(try Rate(mixed) == expected)
            }
        }
    }

    @Test func `no text makes the parser crash`() async {
        await #expect(processExitsWith: .success) {
            var random = SeededGenerator(seed: 5)
            let likely = Array("0123456789.kKmMgGtTiIbB/sS")
            for round in 0..<20_000 {
                let text = String(
                    (0..<Int.random(in: 0...24, using: &random)).map { _ -> Character in
                        switch Int.random(in: 0..<(round % 2 == 0 ? 3 : 20), using: &random) {
                        case 0: Character(Unicode.Scalar(UInt8.random(in: 0x20...0x7e, using: &random)))
                        case 1:
                            Unicode.Scalar(UInt32.random(in: 1...0x10ffff, using: &random)).map(Character.init) ?? "?"
                        default: likely.randomElement(using: &random) ?? "0"
                        }
                    })
                switch Result(catching: { () throws(InvalidQuantity) in try Rate(text) }) {
                case .success(.bytesPerSecond(let rate)): #expect((1...UInt64(Int64.max)).contains(rate), "\(text)")
                case .success(.unlimited): #expect(text.lowercased() == "unlimited")
                case .failure(let error): #expect(error.description.contains("'\(text)'"))
                }
                _ = try? TimeSpan(text)
            }
        }
    }

    @Test func `any number of digits is read or refused`() async {
        await #expect(processExitsWith: .success) {
            for count in [1, 10, 18, 19, 20, 37, 38, 39, 40, 100, 1000, 100_000] {
                let zeros = String(repeating: "0", count: count)
                let rate = try Rate(zeros + "5k")
                #expect(rate == .bytesPerSecond(5000))
                #expect(throws: InvalidQuantity.self) { try Rate("0." + zeros + "1") }
                #expect(throws: InvalidQuantity.self) { try Rate("5" + String(repeating: "9", count: count + 20)) }
                #expect(throws: InvalidQuantity.self) { try TimeSpan("-0." + zeros + "1s") }
            }
        }
    }
}
