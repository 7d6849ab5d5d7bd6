import CLibBPF
import Glibc
import Kernel
import Logging

/// The program that leads downloads into the run's queue, at a device's ingress by a tcx link, behind the links of
/// others. Its end, or that of the process, takes it away.
package struct IngressLink: ~Copyable {
    /// The first that has tcx links.
    package static let oldestKernel = KernelVersion(6, 6)

    /// BPF_TCX_INGRESS, newer than our headers.
    private static let attachType = bpf_attach_type(46)

    private let link: Descriptor
    private let name: String
    private let log: Logger

    /// Attaches to the device with this index.
    package init(
        _ program: borrowing QueueProgram, on device: Int32, named name: String, log: Logger
    ) throws(SystemError) {
        let link = bpf_link_create(program.descriptor, device, IngressLink.attachType, nil)
        if link < 0 {
            // kernel/bpf/mprog.c
            let hint = errno == ERANGE ? "64 programs are attached there already, all that Linux allows" : nil
            throw SystemError("attach", "\(QueueProgram.Way.link.name) to \(name)", hint: hint)
        }
        self.link = Descriptor(owning: link)
        self.name = name
        self.log = log
        log.debug("attached \(QueueProgram.Way.link.name) to device \(name), method tcx link")
    }

    deinit {
        log.debug("detached \(QueueProgram.Way.link.name) from device \(name)")
    }
}
