import CLibBPF
import CPrograms
import Glibc
import Kernel
import SystemPackage

/// The BPF programs that reach TCP connections which are open already, loaded: iterators, which go through all sockets of a
/// network namespace once.
package struct OpenPrograms: ~Copyable {
    /// The first whose iterators may set options.
    package static let oldestKernel = KernelVersion(5, 15)

    package enum Purpose: String {
        /// Has TCP call the run's programs for them (Linux 6.12; before, nothing is done).
        case enter = "throttle_enter"
        /// Takes back all that the run has set on them, and its mark.
        case leave = "throttle_leave"
    }

    private let object: BPFObject

    package init(sharing maps: SharedMaps) throws(LoadError) {
        object = try .loaded(programs_open(), on: maps)
    }

    /// Goes through the sockets of the network namespace that the calling thread is in.
    package func run(_ purpose: Purpose) throws(SystemError) {
        let program = object.descriptor(ofProgram: purpose.rawValue)
        try attempting("run", purpose.rawValue) { () throws(Errno) in
            let link = bpf_link_create(program, 0, BPF_TRACE_ITER, nil)
            if link < 0 { throw Errno(rawValue: errno) }
            let owner = Descriptor(owning: link)
            let iterator = bpf_iter_create(owner.rawValue)
            if iterator < 0 { throw Errno(rawValue: errno) }
            _ = try Descriptor(owning: iterator).readAll()
        }
    }
}
