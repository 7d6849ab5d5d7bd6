import Foundation

/// Two network namespaces joined by a long link, which wan.c emulates: commands go to the near one, servers to the
/// far one.
final class WideAreaNetwork {
    let near: Namespace
    let far: Namespace
    private let link: Child

    static let nearAddress = "10.78.0.1"
    static let farAddress = "10.78.0.2"
    static let farAddress6 = "fd78::2"

    /// A round trip in ms; of each direction the rate in bytes per second (0: unlimited), the share of packets
    /// that get lost, and how many ms of the rate may wait (nil: about a round trip's). `ethernet` or plain IP, as a tunnel.
    init(
        _ lab: Lab, roundTrip: Double, rate: UInt64 = 0, loss: Double = 0, buffer: Double? = nil, ethernet: Bool = true
    ) throws {
        near = try Namespace(lab)
        far = try Namespace(lab)
        var words = [
            try Fixtures.wan.get(), near.name, far.name, "\(roundTrip / 2)", "\(rate)", "\(loss * 100)",
            ethernet ? "tap" : "tun",
        ]
        if let buffer { words += ["1", "\(buffer)"] }
        link = try lab.start(words, in: lab.helpers)
        try link.waitForOutput("ready")
    }

    /// Ends the link and returns what became of the packets in each direction, near to far first.
    func close() throws -> [Counts] {
        link.send(SIGTERM)
        let text = try link.wait().stdout
        let counts = text.split(separator: ";").compactMap(Counts.init)
        guard counts.count == 2 else { throw HarnessError("no counts from wan, but: \(text)") }
        return counts
    }

    struct Counts {
        let packets: Int
        let lost: Int
        let overflowed: Int
        /// By the devices: a fault of the emulation.
        let failed: Int

        init?(_ text: Substring) {
            let numbers = text.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
            guard numbers.count == 5 else { return nil }
            packets = numbers[0]
            lost = numbers[1]
            overflowed = numbers[2]
            failed = numbers[3] + numbers[4]
        }
    }
}
