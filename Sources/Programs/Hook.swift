import CLibBPF

/// Which way traffic goes, as the command sees it.
public enum Direction: Int, CaseIterable, Sendable {
    case down, up
}

/// What a program of the run does, and so which cgroup it belongs to.
public enum Role: Sendable {
    /// Meter and police, on the run's cgroup.
    case meter
    /// On the parent.
    case witness
}

/// One of the run's programs and the place that it is made for.
public struct Hook: Sendable {
    public let role: Role
    public let direction: Direction

    public init(_ role: Role, _ direction: Direction) {
        self.role = role
        self.direction = direction
    }

    /// The program's name in bpf/throttle.bpf.c, which bpftool shows.
    var programName: String {
        switch (role, direction) {
        case (.meter, .down): "throttle_down"
        case (.meter, .up): "throttle_up"
        case (.witness, .down): "throttle_wit_dn"
        case (.witness, .up): "throttle_wit_up"
        }
    }
}

extension Direction {
    var attachType: bpf_attach_type { self == .down ? BPF_CGROUP_INET_INGRESS : BPF_CGROUP_INET_EGRESS }

    /// The attach type as bpftool names it.
    public var attachTypeName: String { self == .down ? "cgroup_inet_ingress" : "cgroup_inet_egress" }
}
