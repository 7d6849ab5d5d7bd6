import CLibBPF

/// Which way traffic goes, as the command sees it.
package enum Direction: Int, CaseIterable, Sendable {
    case down, up

    /// What is this direction's of two: C's arrays of both directions import as tuples.
    func pick<Value>(from both: (Value, Value)) -> Value { self == .down ? both.0 : both.1 }

    /// The same, to be changed.
    func pick<Value>(from both: UnsafeMutablePointer<(Value, Value)>) -> UnsafeMutablePointer<Value> {
        UnsafeMutableRawPointer(both).assumingMemoryBound(to: Value.self) + rawValue
    }
}

/// One of the run's programs and the place that it is made for.
package enum Hook: Sendable {
    /// Meter and police, on the run's cgroup.
    case meter(Direction)
    /// On the parent.
    case witness(Direction)
    /// Marks the sockets that are made in the run's cgroup. This one and those below are of `TCPPrograms`.
    case sockets
    /// Makes TCP call `tcp`, on the run's cgroup.
    case calls
    /// Paces uploads and clamps windows, on the run's cgroup.
    case tcp

    /// The program's name in bpf/limits.bpf.c or tcp.bpf.c, which bpftool shows.
    var programName: String {
        switch self {
        case .meter(.down): "throttle_down"
        case .meter(.up): "throttle_up"
        case .witness(.down): "throttle_wit_dn"
        case .witness(.up): "throttle_wit_up"
        case .sockets: "throttle_sock"
        case .calls: "throttle_calls"
        case .tcp: "throttle_tcp"
        }
    }

    /// Where it goes.
    package var attachType: AttachType {
        switch self {
        case .meter(let direction), .witness(let direction): direction.pick(from: (.ingress, .egress))
        case .sockets: .socketCreation
        case .calls, .tcp: .sockops
        }
    }
}

/// Where on a cgroup a program is attached, as bpftool names it.
package enum AttachType: String, Sendable, CaseIterable {
    case ingress = "cgroup_inet_ingress"
    case egress = "cgroup_inet_egress"
    case socketCreation = "cgroup_inet_sock_create"
    case sockops = "cgroup_sock_ops"

    var value: bpf_attach_type {
        switch self {
        case .ingress: BPF_CGROUP_INET_INGRESS
        case .egress: BPF_CGROUP_INET_EGRESS
        case .socketCreation: BPF_CGROUP_INET_SOCK_CREATE
        case .sockops: BPF_CGROUP_SOCK_OPS
        }
    }
}
