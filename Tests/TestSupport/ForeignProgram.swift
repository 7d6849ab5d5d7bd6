import CLibBPF
import CTestSupport
import Cgroups
import Kernel
import Programs

/// A program that isn't ours, attached with the old call for as long as its cgroup lives.
package struct ForeignProgram: ~Copyable {
    package let id: UInt32

    /// `flags`: none, BPF_F_ALLOW_OVERRIDE or BPF_F_ALLOW_MULTI.
    package init(_ name: String, on cgroup: borrowing CgroupDirectory, _ direction: Direction, flags: UInt32 = 0) throws
    {
        let type = direction == .down ? BPF_CGROUP_INET_INGRESS : BPF_CGROUP_INET_EGRESS
        let program = test_load_passing_program(name, type.rawValue)
        guard program >= 0 else { throw SystemError("load", name) }
        let descriptor = Descriptor(owning: program)
        let id = try information(descriptor.rawValue).id
        guard bpf_prog_attach(descriptor.rawValue, cgroup.descriptor.rawValue, type, flags) == 0 else {
            throw SystemError("attach", name)
        }
        self.id = id
    }
}

/// What the kernel tells of a program.
package func information(_ program: CInt) throws -> bpf_prog_info {
    var info = bpf_prog_info()
    var size = UInt32(MemoryLayout<bpf_prog_info>.size)
    guard bpf_obj_get_info_by_fd(program, &info, &size) == 0 else { throw SystemError("read", "program \(program)") }
    return info
}
