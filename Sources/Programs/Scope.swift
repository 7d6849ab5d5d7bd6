import CLibBPF
import CPrograms
import Glibc
import Kernel
import SystemPackage
import Units

/// Where the peers are that are limited, if nothing else is said of them.
package enum Peers: String, Sendable, CaseIterable {
    case all
    /// All but those in local networks.
    case internet
    case local
}

/// Which peers are limited. The others are exempt: what they send and are sent is neither held nor charged.
package struct Scope: Sendable, Equatable {
    /// Whether peers are limited; the longest prefix decides. Empty where all are.
    let prefixes: [Prefix: Bool]
    /// Whether those are that no prefix has.
    let limitsOthers: Bool

    /// All peers.
    package static let all = Scope()

    /// As many prefixes as may be given.
    package static let largest = 1024

    /// What `only` and `except` have is limited and exempt, whatever `peers` says of the same prefix. They have none in
    /// common. With `only`, all else is exempt.
    package init(_ peers: Peers = .all, only: Set<Prefix> = [], except: Set<Prefix> = []) {
        var prefixes: [Prefix: Bool] = [:]
        limitsOthers = only.isEmpty && peers != .local
        if peers != .all || !only.isEmpty || !except.isEmpty {
            // Else ::/0 and the like would have IPv4, too.
            prefixes[.ipv4] = limitsOthers
        }
        if peers != .all { for prefix in Scope.local { prefixes[prefix] = peers == .local } }
        for prefix in except { prefixes[prefix] = false }
        for prefix in only { prefixes[prefix] = true }
        self.prefixes = prefixes
    }

    /// Loopback, link-local, private (RFC 1918, 6598 and 4193), this network, multicast and broadcast.
    static let local: [Prefix] = [
        "127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "0.0.0.0/8",
        "224.0.0.0/4", "255.255.255.255/32", "::1/128", "fe80::/10", "fc00::/7", "ff00::/8",
    ].compactMap { try? Prefix($0) }
}

extension BPFObject {
    /// Tells the programs what they are for, before they are loaded.
    func declare(
        _ scope: Scope, isGrouped: Bool, isGuest: Bool, isLate: Bool, hasQuota: Bool, isTimed: Bool,
        hasNetworkCookies: Bool
    ) throws(LoadError) {
        var constants = throttle_constants()
        if !scope.prefixes.isEmpty {
            constants.scope = (scope.limitsOthers ? THROTTLE_OTHERS_LIMITED : THROTTLE_OTHERS_EXEMPT).rawValue
        }
        constants.grouped = isGrouped ? 1 : 0
        constants.is_guest = isGuest ? 1 : 0
        constants.is_late = isLate ? 1 : 0
        constants.has_quota = hasQuota ? 1 : 0
        constants.is_timed = isTimed ? 1 : 0
        constants.retry = UInt32(max(1, Host.ticksPerSecond / 250))
        constants.network = hasNetworkCookies ? Host.networkCookie ?? 0 : 0
        try set(constants, ofMap: Map.constants)
    }

    /// Hands its prefixes to the loaded programs.
    func fill(_ scope: Scope) throws(LoadError) {
        let map = descriptor(ofMap: Map.prefixes)
        for (prefix, isLimited) in scope.prefixes {
            var key = throttle_prefix()
            key.bits = UInt32(prefix.bits)
            withUnsafeMutableBytes(of: &key.address) { $0.copyBytes(from: prefix.bytes) }
            var value: UInt8 = isLimited ? 1 : 0
            if bpf_map_update_elem(map, &key, &value, 0) != 0 { throw LoadError(errno: Errno(rawValue: errno)) }
        }
    }
}
