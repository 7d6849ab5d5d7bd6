import CLibBPF
import Kernel

/// How a cgroup shares an attach type with the cgroups below it.
package enum SharingMode: String, Sendable {
    /// No flags: nothing may be attached below.
    case exclusive
    /// BPF_F_ALLOW_OVERRIDE: whatever is attached below runs instead.
    case override
    /// BPF_F_ALLOW_MULTI: all run.
    case multi
}

/// A program that somebody attached to a cgroup.
package struct AttachedProgram: Sendable {
    /// As bpftool(8) shows it.
    package let id: UInt32
    /// nil where it can't be read: that takes CAP_SYS_ADMIN.
    package let name: String?
    /// That of its cgroup and attach type.
    package let mode: SharingMode

    package init(id: UInt32, name: String?, mode: SharingMode) {
        self.id = id
        self.name = name
        self.mode = mode
    }

    /// The programs of `type` on a cgroup itself; empty also where the kernel doesn't tell.
    package static func all(on cgroup: borrowing Descriptor, _ type: AttachType) -> [AttachedProgram] {
        var flags: UInt32 = 0
        var ids = [UInt32](repeating: 0, count: 64)
        var count = UInt32(ids.count)
        let result = bpf_prog_query(cgroup.rawValue, type.value, 0, &flags, &ids, &count)
        guard result == 0 else { return [] }
        let mode: SharingMode =
            flags & UInt32(BPF_F_ALLOW_MULTI) != 0
            ? .multi : flags & UInt32(BPF_F_ALLOW_OVERRIDE) != 0 ? .override : .exclusive
        return ids.prefix(Int(count)).map { AttachedProgram(id: $0, name: name(of: $0), mode: mode) }
    }

    private static func name(of id: UInt32) -> String? {
        let fd = bpf_prog_get_fd_by_id(id)
        guard fd >= 0 else { return nil }
        let program = Descriptor(owning: fd)
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        guard bpf_obj_get_info_by_fd(program.rawValue, &info, &size) == 0 else { return nil }
        return withUnsafeBytes(of: info.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
