import Foundation
import Testing

/// iperf3, and what its client says at the end.
enum Iperf3 {
    /// A server for one test, which listens already.
    static func server(in namespace: Namespace, _ lab: Lab, _ options: String...) throws -> Child {
        let words = namespace.entry + ["iperf3", "-s", "-1", "--forceflush"] + options
        let server = try lab.start(words, in: lab.helpers)
        try server.waitForOutput("listening")
        return server
    }

    /// A client that measures behind the first second.
    static func client(_ address: String, seconds: Int, _ options: String...) -> [String] {
        ["iperf3", "-c", address, "-J", "-O", "1", "-t", "\(seconds)"] + options
    }

    struct Result {
        let bytesPerSecond: Double
        /// Segments that the sender sent again.
        let retransmits: Int?
        /// What each TCP stream brought over, in bytes.
        let streams: [Double]

        init(_ text: String) throws {
            do {
                let end = try JSONDecoder().decode(Output.self, from: Data(text.utf8)).end
                bytesPerSecond = (end.sum_received ?? end.sum).map { $0.bits_per_second / 8 } ?? 0
                retransmits = end.sum_sent?.retransmits
                streams = end.streams.compactMap { $0.receiver?.bytes }
            } catch {
                throw HarnessError("not the output of iperf3: \(error): \(text)")
            }
        }

        /// Jain's index: 1 if all streams got the same, 1/n if one got all.
        var fairness: Double {
            let sum = streams.reduce(0, +)
            return sum * sum / (Double(streams.count) * streams.reduce(0) { $0 + $1 * $1 })
        }
    }

    private struct Output: Decodable {
        struct End: Decodable {
            let streams: [Stream]
            let sum_sent: Sum?
            let sum_received: Sum?
            let sum: Sum?
        }
        struct Stream: Decodable { let receiver: Receiver? }
        struct Receiver: Decodable { let bytes: Double }
        struct Sum: Decodable {
            let bits_per_second: Double
            let retransmits: Int?
        }
        let end: End
    }
}

extension Lab {
    /// Runs iperf3's client behind the words that limit it, against a server of its own; both must end well.
    func measure(
        _ limiting: [String], from near: Namespace, to far: Namespace, _ client: [String]
    ) throws -> Iperf3.Result {
        let server = try Iperf3.server(in: far, self)
        let completed = try run(near.entry + limiting + client)
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        _ = try server.wait()
        return try Iperf3.Result(completed.stdout)
    }
}
