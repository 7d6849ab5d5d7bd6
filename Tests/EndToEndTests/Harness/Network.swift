import Foundation
import Synchronization

/// A network namespace.
struct Namespace {
    let name: String

    /// Words that run a command inside.
    var entry: [String] { ["nsenter", "--net=/run/netns/\(name)"] }
}

/// Two network namespaces joined by a veth pair: commands go to the near one, servers to the far one.
final class NetworkPair {
    let near: Namespace
    let far: Namespace

    static let nearAddress = "10.77.0.1"
    static let farAddress = "10.77.0.2"
    static let farAddress6 = "fd77::2"

    init(_ lab: Lab) throws {
        let number = Lab.nextNumber()
        let near = Namespace(name: "e2e-\(getpid())-\(number)a")
        let far = Namespace(name: "e2e-\(getpid())-\(number)b")
        self.near = near
        self.far = far
        // The first "ip netns add" of a machine mounts /run/netns: not two at once.
        try NetworkPair.adding.withLock { _ in
            try lab.require(["ip", "netns", "add", near.name])
            try lab.require(["ip", "netns", "add", far.name])
        }
        try lab.require([
            "ip", "-n", near.name, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", far.name,
        ])
        // Addresses when both ends are up, else IPv6 takes a second to find its neighbour, and TCP takes that for
        // the round trip.
        for (namespace, device) in [(near, "lo"), (far, "lo"), (near, "veth0"), (far, "veth0")] {
            try lab.require(["ip", "-n", namespace.name, "link", "set", device, "up"])
        }
        for (namespace, host) in [(near, "1"), (far, "2")] {
            for address in [["10.77.0.\(host)/24"], ["fd77::\(host)/64", "nodad"]] {
                try lab.require(["ip", "-n", namespace.name, "address", "add", "dev", "veth0"] + address)
            }
        }
    }

    deinit {
        for namespace in [near, far] { _ = try? Child(["ip", "netns", "delete", namespace.name]).wait() }
    }

    private static let adding = Mutex(())
}
