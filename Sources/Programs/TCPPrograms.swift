import CPrograms
import Glibc
import Kernel

/// The BPF programs that know a run's sockets and make its limits lossless for TCP, loaded.
package struct TCPPrograms: LoadedPrograms, ~Copyable {
    /// In the order in which they are to be attached.
    package static let hooks = [Hook.sockets, .calls, .tcp]

    private let object: BPFObject

    /// Loads them. Nothing is attached yet.
    package init(sharing maps: SharedMaps) throws(LoadError) {
        object = try .loaded(programs_tcp(), on: maps)
    }

    package func descriptor(of hook: Hook) -> CInt { object.descriptor(of: hook) }

    /// For another process, which may attach them.
    package var descriptors: [CInt] { TCPPrograms.hooks.map { object.descriptor(of: $0) } }
}

/// The same, loaded by another process.
package struct LentPrograms: LoadedPrograms, ~Copyable {
    private let descriptors: [CInt]

    /// Owns the descriptors, which are those of `TCPPrograms`, or none.
    package init(owning descriptors: [CInt]) { self.descriptors = descriptors }

    package var areAll: Bool { descriptors.count == TCPPrograms.hooks.count }

    package func descriptor(of hook: Hook) -> CInt {
        zip(TCPPrograms.hooks, descriptors).first { $0.0.programName == hook.programName }?.1 ?? -1
    }

    deinit {
        for descriptor in descriptors { close(descriptor) }
    }
}
