import Foundation
import Testing

/// What a host passes on between others is none of its runs' business, whatever these listen to.
@Suite struct ForwardingTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    private static let port = "5555"

    /// Two hosts, `10.78.1.2` or `fd78:1::2` and `10.78.2.2` or `fd78:2::2`, and one between them, which routes or, where
    /// they are in one network, bridges.
    private struct Path {
        let near: Namespace
        let middle: Namespace
        let far: Namespace

        init(_ lab: Lab, bridged: Bool) throws {
            (near, middle, far) = (try Namespace(lab), try Namespace(lab), try Namespace(lab))
            let script = #"""
                n=$1 m=$2 f=$3
                ip -n "$m" link add near type veth peer name veth0 netns "$n"
                ip -n "$m" link add far type veth peer name veth0 netns "$f"
                for device in near far; do ip -n "$m" link set $device up; done
                for host in "$n" "$f"; do ip -n "$host" link set veth0 up; done
                address() { ip -n "$1" address add "$3" dev "$2" nodad 2>/dev/null || ip -n "$1" address add "$3" dev "$2"; }
                address "$n" veth0 10.78.1.2/"$4"; address "$n" veth0 fd78:1::2/"$5"
                address "$f" veth0 10.78.2.2/"$4"; address "$f" veth0 fd78:2::2/"$5"
                """#
            let bridge = #"""
                ip -n "$m" link add bridge type bridge
                for device in near far; do ip -n "$m" link set $device master bridge; done
                ip -n "$m" link set bridge up
                address "$m" bridge 10.78.1.1/16; address "$m" bridge fd78:1::1/16
                """#
            let router = #"""
                address "$m" near 10.78.1.1/24; address "$m" near fd78:1::1/64
                address "$m" far 10.78.2.1/24; address "$m" far fd78:2::1/64
                nsenter --net=/run/netns/"$m" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
                ip -n "$n" route add default via 10.78.1.1; ip -n "$n" route add default via fd78:1::1
                ip -n "$f" route add default via 10.78.2.1; ip -n "$f" route add default via fd78:2::1
                """#
            let names = [near.name, middle.name, far.name] + (bridged ? ["16", "16"] : ["24", "64"])
            try lab.require(["sh", "-ec", script + "\n" + (bridged ? bridge : router), "sh"] + names)
        }
    }

    private func python(_ script: String, _ words: String...) -> [String] {
        ["/usr/bin/python3", Fixtures.script(script)] + words
    }

    /// Bound to any address of the host between them, or to that of the one behind it.
    @Test(
        arguments: [
            ("0.0.0.0", "10.78.2.2"), ("10.78.2.2", "10.78.2.2"), ("::", "fd78:2::2"), ("fd78:2::2", "fd78:2::2"),
        ],
        [false, true])
    func `packets for others are not the runs`(_ addresses: (own: String, far: String), _ bridged: Bool) throws {
        let path = try Path(lab, bridged: bridged)
        let squatting =
            throttle("-d", "100", "--mode", "shape") + python("squat.py", addresses.own, ForwardingTests.port)
        let run = try lab.start(path.middle.entry + squatting, input: .pipe)
        try run.waitForOutput("ready")
        // First, as it finds the neighbours, for whom only few packets of IPv6 wait.
        let server = try Iperf3.server(in: path.far, lab, "-p", ForwardingTests.port)
        let client = [
            "iperf3", "-c", addresses.far, "-p", ForwardingTests.port, "-J", "-n", "1M", "--connect-timeout", "5000",
        ]
        let transfer = try lab.run(path.near.entry + client, timeout: .seconds(20))
        #expect(transfer.ending == .exited(0))
        server.send(SIGKILL)
        let receiver = try lab.start(path.far.entry + python("udp_receive.py", ForwardingTests.port), in: lab.helpers)
        try receiver.waitForOutput("ready")
        let sending = python("udp_send.py", addresses.far, ForwardingTests.port, "200000", "1")
        let sender = try lab.run(path.near.entry + sending)
        let sent = try #require(sender.stdout.split(separator: " ").first.flatMap { Int($0) })
        #expect(sent > 100)
        #expect(try receiver.wait().stdout.contains("\n\(sent * 1000) "))
        run.closeInput()
        #expect(try run.wait().ending == .exited(0))
    }
}
