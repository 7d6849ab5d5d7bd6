import CPrograms
import Kernel

/// The BPF program that makes a run's limits lossless for TCP, loaded.
package struct TCPPrograms: LoadedPrograms, ~Copyable {
    private let object: BPFObject

    /// Loads it. Nothing is attached yet.
    package init(sharing maps: SharedMaps) throws(LoadError) {
        let object = try BPFObject(programs_tcp())
        try object.use(maps)
        try object.load()
        self.object = object
    }

    package func descriptor(of hook: Hook) -> CInt { object.descriptor(of: hook) }
}
