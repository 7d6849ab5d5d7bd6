import Records
import Reports
import Testing

@testable import Control
@testable import throttle

@Suite struct TableTests {
    private let table = Table(
        columns: [.init(title: "ID"), .init(title: "DOWN", isNumber: true, rank: 1), .init(title: "COMMAND")],
        rows: [["1", "5 B", "wget a b c d e f"], ["22-2", "10.0 kB", "curl"]])

    @Test func `numbers are aligned on the right, words on the left`() {
        #expect(
            table.text(width: nil) == """
                ID       DOWN  COMMAND
                1         5 B  wget a b c d e f
                22-2  10.0 kB  curl
                """)
        #expect(table.text(width: 31) == table.text(width: nil))
    }

    @Test func `what doesn't fit is left out, and the command is cut`() {
        #expect(
            table.text(width: 20) == """
                ID    COMMAND
                1     wget a b c d e
                22-2  curl
                """)
        for width in 0...80 {
            #expect(table.text(width: width).split(separator: "\n").allSatisfy { $0.count <= width })
        }
    }

    /// A run as `list` has it; `network`: what its guard tells of that, in JSON.
    private func row(_ id: String, network: String) throws -> ListCommand.Row {
        let traffic =
            #"{"achieved_bytes_per_second":0,"verdict":"unlimited","averaged_seconds":1,"program_calls":0,"#
            + #""passed_packets":0,"passed_payload_bytes":0,"passed_wire_bytes":0,"dropped_packets":0,"#
            + #""dropped_payload_bytes":0,"dropped_packet_share":0,"exempt_packets":0,"exempt_bytes":0}"#
        let report =
            #"{"schema":1,"name":"n","command":["c"],"elapsed_seconds":61,"mode":"auto","planes":["delay"],"#
            + #""count":"payload","burst_seconds":0.2,"not_throttled":false,"left_behind":0,"linger":"keep","#
            + #""warnings":[],\#(network)"download":\#(traffic),"upload":\#(traffic)}"#
        let document = try #require(ReportDocument(decoding: Array(report.utf8)))
        let record = RunRecord(id: id, name: "job", command: ["sleep", "9"], cgroup: "/", down: nil, up: nil)
        return ListCommand.Row(LiveRun(id: id, user: 0, record: record, report: document), [])
    }

    @Test func `the network has a column where one is slow besides its rate`() throws {
        let slow = #""rtt_seconds":0.1,"jitter_seconds":0.01,"loss_share":0.005,"#
        let plain = [try row("1", network: ""), try row("2", network: #""rtt_seconds":0,"loss_share":0,"#)]
        #expect(
            ListCommand().table(plain) == """
                ID  NAME  GROUP   AGE   DOWN     UP  TOTAL DOWN  TOTAL UP  PLANES  COMMAND
                1   job   -      1m1s  0 B/s  0 B/s         0 B       0 B  delay   sleep 9
                2   job   -      1m1s  0 B/s  0 B/s         0 B       0 B  delay   sleep 9
                """)
        #expect(
            ListCommand().table(plain + [try row("3", network: slow)]) == """
                ID  NAME  GROUP   AGE   DOWN     UP  TOTAL DOWN  TOTAL UP  PLANES  NETWORK                             COMMAND
                1   job   -      1m1s  0 B/s  0 B/s         0 B       0 B  delay   -                                   sleep 9
                2   job   -      1m1s  0 B/s  0 B/s         0 B       0 B  delay   -                                   sleep 9
                3   job   -      1m1s  0 B/s  0 B/s         0 B       0 B  delay   rtt +100ms, jitter 10ms, loss 0.5%  sleep 9
                """)
        let json = ListCommand().document([try row("3", network: slow), try row("1", network: "")])
        #expect(json.contains(#""jitter_seconds":0.01,"loss_share":0.005,"#) && json.contains(#""rtt_seconds":0.1,"#))
        #expect(json.matches(of: /rtt_seconds/).count == 1)
    }
}
