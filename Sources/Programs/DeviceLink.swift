import CLibBPF
import Glibc
import Kernel
import Logging

/// A program that leads packets into the run's queue, at a device by a tcx link: at its ingress behind the links of others;
/// at its egress before them, as they see what it leads away when that comes back. Its end, or that of the process, takes
/// it away.
package struct DeviceLink: ~Copyable {
    /// The first that has tcx links.
    package static let oldestKernel = KernelVersion(6, 6)

    /// BPF_TCX_INGRESS, BPF_TCX_EGRESS and BPF_F_BEFORE, newer than our headers.
    private static let (ingress, egress) = (bpf_attach_type(46), bpf_attach_type(47))
    private static let first: UInt32 = 1 << 3

    private let link: Descriptor
    private let program: String
    private let name: String
    private let log: Logger

    /// Attaches to the device with this index.
    package init(
        _ program: borrowing QueueProgram, on device: Int32, named name: String, log: Logger
    ) throws(SystemError) {
        var options = bpf_link_create_opts()
        options.sz = MemoryLayout<bpf_link_create_opts>.size
        options.flags = program.way == .link ? 0 : DeviceLink.first
        let type = program.way == .link ? DeviceLink.ingress : DeviceLink.egress
        let link = bpf_link_create(program.descriptor, device, type, &options)
        if link < 0 {
            // kernel/bpf/mprog.c
            let hint = errno == ERANGE ? "64 programs are attached there already, all that Linux allows" : nil
            throw SystemError("attach", "\(program.way.name) to \(name)", hint: hint)
        }
        self.link = Descriptor(owning: link)
        self.name = name
        self.program = program.way.name
        self.log = log
        log.debug("attached \(program.way.name) to device \(name), method tcx link")
    }

    deinit {
        log.debug("detached \(program) from device \(name)")
    }
}
