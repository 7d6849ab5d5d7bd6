import Cgroups
import Kernel
import Programs

extension AttachedProgram {
    package var described: String { "program \(id)" + (name.map { " (\($0))" } ?? "") }

    package static let adviceOnExclusive =
        "have its owner attach it with BPF_F_ALLOW_MULTI, or give --cgroup-parent a cgroup elsewhere"
}

/// The programs at the nearest cgroup above the run that has any: their mode decides what may be attached
/// below (kernel/bpf/cgroup.c, hierarchy_allows_attach()).
func nearestPrograms(above cgroup: borrowing RunCgroup, _ type: AttachType) -> [(path: String, AttachedProgram)] {
    nearestPrograms(from: cgroup.parent.above(), type)
}

private func nearestPrograms(
    from cgroup: consuming CgroupDirectory?, _ type: AttachType
) -> [(path: String, AttachedProgram)] {
    guard let cgroup else { return [] }
    let programs = AttachedProgram.all(on: cgroup.descriptor, type)
    if !programs.isEmpty { return programs.map { (cgroup.path, $0) } }
    return nearestPrograms(from: cgroup.above(), type)
}

/// Says what is in the way of an attachment that failed.
func explain(_ error: SystemError, _ cgroup: borrowing RunCgroup, _ type: AttachType) -> SetupError {
    guard error.errno == .notPermitted else { return SetupError(error) }
    for (path, program) in nearestPrograms(above: cgroup, type) where program.mode == .exclusive {
        return SetupError(
            "\(error); \(program.described) is attached to \(path) in mode exclusive (no BPF_F_ALLOW_MULTI), which"
                + " forbids programs below it", advice: AttachedProgram.adviceOnExclusive, joint: ": ")
    }
    return SetupError(
        "\(error); a program attached without BPF_F_ALLOW_MULTI to a cgroup above, out of sight from here, may"
            + " forbid it")
}
