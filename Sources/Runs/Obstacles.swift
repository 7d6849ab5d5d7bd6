import Cgroups
import Kernel
import Programs

extension AttachedProgram {
    var described: String { "program \(id)" + (name.map { " (\($0))" } ?? "") }

    static let adviceOnExclusive =
        "have its owner attach it with BPF_F_ALLOW_MULTI, or give --cgroup-parent a cgroup elsewhere"
}

/// The programs at the nearest cgroup above the run that has any: their mode decides what may be attached
/// below (kernel/bpf/cgroup.c, hierarchy_allows_attach()).
func obstacles(to cgroup: borrowing RunCgroup, _ type: AttachType) -> [(path: String, AttachedProgram)] {
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
    for (path, program) in obstacles(to: cgroup, type) where program.mode == .exclusive {
        return SetupError(
            "\(error); \(program.described) is attached to \(path) in mode exclusive (no BPF_F_ALLOW_MULTI), which"
                + " forbids programs below it", advice: AttachedProgram.adviceOnExclusive, joint: ": ")
    }
    return SetupError(
        "\(error); a program attached without BPF_F_ALLOW_MULTI to a cgroup above, out of sight from here, may"
            + " forbid it")
}

/// All programs from `cgroup` to the root. Of each type, those of the nearest cgroup that has any decide what may be
/// attached below; others see a run's traffic only in multi mode (kernel/bpf/cgroup.c).
func surroundingPrograms(from cgroup: borrowing CgroupDirectory) -> [SurroundingProgram] {
    AttachType.allCases.flatMap { type in
        var isNearest = true
        return programs(from: cgroup, type).flatMap { path, programs in
            defer { isNearest = isNearest && programs.isEmpty }
            return programs.map { program in
                let effect: SurroundingProgram.Effect =
                    program.mode == .multi ? .none : program.mode == .exclusive && isNearest ? .stops : .passedOver
                return SurroundingProgram(cgroup: path, type: type, program: program, effect: effect)
            }
        }
    }
}

/// From `cgroup` to the root.
private func programs(
    from cgroup: borrowing CgroupDirectory, _ type: AttachType
) -> [(path: String, [AttachedProgram])] {
    let own = [(cgroup.path, AttachedProgram.all(on: cgroup.descriptor, type))]
    guard let above = cgroup.above() else { return own }
    return own + programs(from: above, type)
}

/// The cgroups that are about to be full.
func crowds(in programs: [SurroundingProgram]) -> [(cgroup: String, type: AttachType, count: Int)] {
    AttachType.allCases.flatMap { type in
        Dictionary(grouping: programs.filter { $0.type == type }, by: \.cgroup)
            .filter { $0.value.count > 60 }.map { ($0.key, type, $0.value.count) }
    }
}
