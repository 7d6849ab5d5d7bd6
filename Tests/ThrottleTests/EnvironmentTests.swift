import Glibc
import Programs
import Testing

@testable import throttle

/// Each in a process of its own, as the environment is one for the process.
@Suite struct EnvironmentTests {
    @Test func `without any limit there is nothing to do`() async {
        await #expect(processExitsWith: .success) {
            for value in [nil, ""] {
                for variable in ["THROTTLE_DOWN", "THROTTLE_UP"] {
                    unsetenv(variable)
                    if let value { setenv(variable, value, 1) }
                }
                #expect(refusal("true")?.contains("No limit given") == true)
            }
        }
    }

    @Test func `variables give default limits`() async {
        await #expect(processExitsWith: .success) {
            setenv("THROTTLE_DOWN", "50k", 1)
            unsetenv("THROTTLE_UP")
            var rates = try parse("true").limits.rates()
            #expect(rates == Rates(down: .bytesPerSecond(50_000), up: .unlimited))
            setenv("THROTTLE_UP", "800kbit", 1)
            rates = try parse("true").limits.rates()
            #expect(rates == Rates(down: .bytesPerSecond(50_000), up: .bytesPerSecond(100_000)))
            unsetenv("THROTTLE_DOWN")
            rates = try parse("true").limits.rates()
            #expect(rates == Rates(down: .unlimited, up: .bytesPerSecond(100_000)))
            setenv("THROTTLE_UP", "unlimited", 1)
            rates = try parse("true").limits.rates()
            #expect(rates == Rates(down: .unlimited, up: .unlimited))
        }
    }

    @Test func `options go before variables`() async {
        await #expect(processExitsWith: .success) {
            setenv("THROTTLE_DOWN", "50k", 1)
            setenv("THROTTLE_UP", "junk", 1)
            var rates = try parse("-u", "7", "true").limits.rates()
            #expect(rates == Rates(down: .bytesPerSecond(50_000), up: .bytesPerSecond(7)))
            rates = try parse("-u", "7", "-d", "unlimited", "true").limits.rates()
            #expect(rates == Rates(down: .unlimited, up: .bytesPerSecond(7)))
        }
    }

    @Test func `junk in a variable is refused with the variable's name`() async {
        await #expect(processExitsWith: .success) {
            unsetenv("THROTTLE_UP")
            for value in ["junk", "0", " ", "-1", "99999999T"] {
                setenv("THROTTLE_DOWN", value, 1)
                #expect(refusal("true")?.contains("THROTTLE_DOWN: '\(value)' is ") == true)
                #expect(refusal("-u", "7", "true")?.contains("THROTTLE_DOWN: '\(value)' is ") == true)
            }
        }
    }
}
