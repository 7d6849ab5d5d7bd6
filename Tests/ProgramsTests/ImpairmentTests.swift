import Programs
import Testing
import Units

@Suite struct ImpairmentTests {
    private func impairment(_ rtt: String, _ jitter: String = "0s", _ loss: String = "0%") throws -> Impairment {
        try Impairment.none.changed(rtt: TimeSpan(rtt), jitter: TimeSpan(jitter), loss: Percentage(loss))
    }

    @Test(arguments: [
        ("0s", "0s", nil), ("10s", "10s", nil), ("100ms", "100ms", nil), ("10.000001s", "0s", "--rtt is 10s at most"),
        ("100ms", "101ms", "--jitter is at most as long as --rtt, which is 100ms"),
        ("0s", "1ms", "--jitter is at most as long as --rtt, which is 0ms"), ("11s", "12s", "--rtt is 10s at most"),
    ])
    func `what can't be is told`(rtt: String, jitter: String, fault: String?) throws {
        #expect(try impairment(rtt, jitter).fault == fault)
    }

    @Test func `what isn't named stays`() throws {
        let before = try impairment("100ms", "10ms", "1%")
        #expect(before.changed(rtt: nil, jitter: nil, loss: nil) == before)
        #expect(before.changed(rtt: try TimeSpan("200ms"), jitter: nil, loss: nil).jitter == before.jitter)
        let none = before.changed(
            rtt: TimeSpan(nanoseconds: 0), jitter: TimeSpan(nanoseconds: 0), loss: .zero)
        #expect(none == .none && !none.isDelayed && before.isDelayed)
    }

    @Test(arguments: [
        ("0s", "0s", "0%", "none"), ("100ms", "0s", "0%", "rtt +100ms"),
        ("1.5s", "10ms", "0%", "rtt +1.5s, jitter 10ms"),
        ("0s", "0s", "1%", "loss 1%"), ("100ms", "10ms", "0.5%", "rtt +100ms, jitter 10ms, loss 0.5%"),
    ])
    func `it is told in words`(rtt: String, jitter: String, loss: String, text: String) throws {
        #expect(try "\(impairment(rtt, jitter, loss))" == text)
    }

    @Test func `numbers that somebody made up do no harm`() {
        let wild = Impairment(rtt: -1, jitter: .infinity, loss: .nan)
        #expect(!wild.isDelayed && wild.loss == .zero && wild.jitter.seconds == 1e6)
        #expect(Impairment(rtt: 0.1, jitter: 0.01, loss: 0.5).description == "rtt +100ms, jitter 10ms, loss 50%")
    }
}
