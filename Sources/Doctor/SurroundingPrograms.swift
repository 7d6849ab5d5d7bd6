import Cgroups
import Kernel
import Programs

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
