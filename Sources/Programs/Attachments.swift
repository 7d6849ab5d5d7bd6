import CLibBPF
import Glibc
import Kernel
import Logging
import SystemPackage

/// How a program is put on a cgroup.
package enum AttachMethod: String, Sendable {
    /// A BPF link: always multi, detaches when its descriptor closes (Linux 5.7).
    case link
    /// BPF_PROG_ATTACH with BPF_F_ALLOW_MULTI, which stays until it is detached or the cgroup goes.
    case legacy
}

/// Programs on cgroups, each of them tracked. Detached in reverse when their scope ends.
package struct Attachments: ~Copyable {
    private var records: [Record] = []
    /// Links of another process.
    private var shared: [CInt] = []
    private var isLeft = false
    private let log: Logger

    /// `log` gets a line for each attachment and each detachment.
    package init(log: Logger) {
        self.log = log
    }

    /// Keeps links attached, by descriptors that are ours from now on, for as long as this or another process has them.
    package init(sharing links: [CInt]) {
        shared = links
        log = .silent
    }

    /// What undoing one attachment takes. All descriptors are our own.
    private struct Record {
        let method: AttachMethod
        let type: AttachType
        let subject: String
        /// The link's, or the program's.
        let descriptor: CInt
        /// The cgroup's; -1 for a link.
        let cgroup: CInt
    }

    /// Attaches beside whatever is there. `cgroup` is an open directory at `path`.
    package mutating func attach(
        _ hook: Hook, of programs: borrowing some LoadedPrograms & ~Copyable, to cgroup: borrowing Descriptor,
        at path: String, by method: AttachMethod
    ) throws(SystemError) {
        let program = "\(hook.programName) (\(hook.attachType.rawValue))"
        let target = "\(program) to \(path)"
        let descriptor = programs.descriptor(of: hook)
        let type = hook.attachType
        switch method {
        case .link:
            let link = bpf_link_create(descriptor, cgroup.rawValue, type.value, nil)
            if link < 0 { throw SystemError("attach", target) }
            records.append(
                Record(
                    method: method, type: type, subject: "\(program) from \(path)", descriptor: link, cgroup: -1))
        case .legacy:
            // Before the attachment: without these it could not be undone.
            let ownProgram = try attempting("attach", target) { () throws(Errno) in
                try Descriptor(copying: descriptor)
            }
            let ownCgroup = try attempting("attach", target) { () throws(Errno) in try cgroup.copy() }
            if bpf_prog_attach(descriptor, cgroup.rawValue, type.value, UInt32(BPF_F_ALLOW_MULTI)) < 0 {
                throw SystemError("attach", target)
            }
            records.append(
                Record(
                    method: method, type: type, subject: "\(program) from \(path)",
                    descriptor: ownProgram.release(), cgroup: ownCgroup.release()))
        }
        log.debug(
            """
            attached \(hook.programName), cgroup \(path), type \(type.rawValue), mode multi (BPF_F_ALLOW_MULTI), \
            method \(method)
            """)
    }

    /// What keeps the links attached in whatever process has it. Legacy attachments last as long as their cgroups.
    package var links: [CInt] { records.filter { $0.method == .link }.map(\.descriptor) }

    /// Takes our hands off: another process has the links, too.
    package mutating func leave() {
        isLeft = true
    }

    deinit {
        for link in shared { close(link) }
        for record in records.reversed() {
            if !isLeft { Attachments.detach(record, log) }
            close(record.descriptor)
            if record.cgroup >= 0 { close(record.cgroup) }
        }
    }

    private static func detach(_ record: Record, _ log: Logger) {
        var failed = false
        switch record.method {
        // Else it would last as long as any process has the link. Where the cgroup is gone, so is the program.
        case .link: _ = bpf_link_detach(record.descriptor)
        // Detaching takes no attach flags: BPF_F_ALLOW_MULTI would be EINVAL.
        case .legacy: failed = bpf_prog_detach2(record.descriptor, record.cgroup, record.type.value) < 0
        }
        if failed {
            log.warning("\(SystemError("detach", record.subject))")
        } else {
            log.debug("detached \(record.subject)")
        }
    }
}
