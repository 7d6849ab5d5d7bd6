import Foundation
import Testing

/// UDP, and TCP with several congestion controls, over veth.
@Suite(.serialized) struct ProtocolTests {
    let lab: Lab
    let network: NetworkPair

    init() throws {
        lab = try Lab()
        network = try NetworkPair(lab)
    }

    private static let sendingSeconds = 4.0

    private func python(_ script: String, _ words: String...) -> [String] {
        ["/usr/bin/python3", Fixtures.script(script)] + words
    }

    private func numbers(_ text: String) -> [Double] {
        text.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
    }

    @Test(arguments: [NetworkPair.farAddress, NetworkPair.farAddress6])
    func `datagrams over the upload limit vanish without an error where they are policed`(_ address: String) throws {
        let receiver = try lab.start(network.far.entry + python("udp_receive.py", "9000"), in: lab.helpers)
        try receiver.waitForOutput("ready")
        let sending = python("udp_send.py", address, "9000", "1000000", "\(ProtocolTests.sendingSeconds)")
        let sender = try lab.run(
            network.near.entry + throttle("--up", "200k", "--mode", "police", "--stats=json") + sending)
        #expect(sender.ending == .exited(0))
        #expect(sender.stdout.hasSuffix(" 0 []\n"))
        let sent = try #require(numbers(sender.stdout).first) * 1000
        let received = try #require(numbers(receiver.wait().stdout).first)
        #expect(sent > 3 * received)
        #expect((0.85...1.10).contains(received / ProtocolTests.sendingSeconds / 200_000))
        let stats = try Stats(sender.stderr)
        #expect(Double(stats.upload.passed_payload_bytes) >= received)
        #expect(stats.upload.dropped_packets > stats.upload.passed_packets)
        #expect(stats.upload.verdict == "throttled")
    }

    @Test(arguments: ["10.77.0.1", "fd77::1"])
    func `datagrams over the download limit are dropped`(_ address: String) throws {
        let receiving = network.near.entry + throttle("--down", "200k", "--stats=json")
        let receiver = try lab.start(receiving + python("udp_receive.py", "9000"))
        try receiver.waitForOutput("ready")
        let sending = python("udp_send.py", address, "9000", "1000000", "\(ProtocolTests.sendingSeconds)")
        let sender = try lab.start(network.far.entry + sending, in: lab.helpers)
        #expect(try sender.wait().ending == .exited(0))
        let completed = try receiver.wait()
        let received = try #require(numbers(completed.stdout).first)
        #expect((0.85...1.10).contains(received / ProtocolTests.sendingSeconds / 200_000))
        #expect(try Stats(completed.stderr).download.verdict == "throttled")
    }

    /// As iperf3 measures it, behind the first second with its burst.
    @Test(arguments: ["cubic", "bbr"], [true, false])
    func `bulk transfer holds its limit`(_ congestionControl: String, _ isDownload: Bool) throws {
        let server = try lab.start(network.far.entry + ["iperf3", "-s", "-1", "--forceflush"], in: lab.helpers)
        try server.waitForOutput("listening")
        let client = [
            "iperf3", "-c", NetworkPair.farAddress, "-C", congestionControl, "-t", "4", "-O", "1", "--json",
        ]
        let option = isDownload ? "--down" : "--up"
        let completed = try lab.run(
            network.near.entry + throttle(option, "2M", "--stats-file", "stats", "--stats=json") + client
                + (isDownload ? ["-R"] : []))
        #expect(completed.ending == .exited(0) && completed.stderr == "")
        struct Output: Decodable {
            struct End: Decodable { let sum_received: Sum }
            struct Sum: Decodable { let bits_per_second: Double }
            let end: End
        }
        let output = try JSONDecoder().decode(Output.self, from: Data(completed.stdout.utf8))
        let ratio = output.end.sum_received.bits_per_second / 8 / 2_000_000
        #expect((0.85...1.05).contains(ratio))
        let stats = try lab.stats()
        #expect((isDownload ? stats.download : stats.upload).verdict == "throttled")
    }
}
