import Foundation
import Synchronization

/// A network namespace with a working loopback. Its end removes it.
final class Namespace {
    let name: String

    init(_ lab: Lab) throws {
        name = "e2e-\(getpid())-\(Lab.nextNumber())"
        // The first "ip netns add" of a machine mounts /run/netns: not two at once.
        try Namespace.adding.withLock { _ in
            _ = try lab.require(["ip", "netns", "add", name])
        }
        try lab.require(["ip", "-n", name, "link", "set", "lo", "up"])
    }

    deinit {
        _ = try? Child(["ip", "netns", "delete", name]).wait()
    }

    /// Words that run a command inside.
    var entry: [String] { ["nsenter", "--net=/run/netns/\(name)"] }

    private static let adding = Mutex(())
}

/// Two network namespaces joined by a veth pair: commands go to the near one, servers to the far one.
final class NetworkPair {
    let near: Namespace
    let far: Namespace

    static let nearAddress = "10.77.0.1"
    static let farAddress = "10.77.0.2"
    static let farAddress6 = "fd77::2"

    init(_ lab: Lab) throws {
        near = try Namespace(lab)
        far = try Namespace(lab)
        try lab.require([
            "ip", "-n", near.name, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", far.name,
        ])
        // Addresses when both ends are up, else IPv6 takes a second to find its neighbour, and TCP takes that for
        // the round trip.
        for namespace in [near, far] { try lab.require(["ip", "-n", namespace.name, "link", "set", "veth0", "up"]) }
        for (namespace, host) in [(near, "1"), (far, "2")] {
            for address in [["10.77.0.\(host)/24"], ["fd77::\(host)/64", "nodad"]] {
                try lab.require(["ip", "-n", namespace.name, "address", "add", "dev", "veth0"] + address)
            }
        }
    }
}
