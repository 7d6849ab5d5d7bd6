import CPrograms
import Kernel

/// The BPF programs that make the limits of one run lossless, loaded; they work on the maps of its `ProgramSet`.
public struct PlaneSet: LoadedPrograms, ~Copyable {
    let object: BPFObject

    /// Loads the programs. Nothing is attached yet.
    public init(sharing limits: borrowing ProgramSet) throws(LoadError) {
        let object = try BPFObject(programs_planes())
        for map in Map.common { try object.use(limits.object.descriptor(ofMap: map), forMap: map) }
        try object.load()
        self.object = object
    }

    public func descriptor(of hook: Hook) -> CInt { object.descriptor(of: hook) }

    /// Of the program for a device's ingress by tcx link.
    var shapeDescriptor: CInt { object.descriptor(ofProgram: PlaneSet.shapeName) }

    static let shapeName = "throttle_shape"

    /// Of the program for a filter whose action redirects.
    public var matchDescriptor: CInt { object.descriptor(ofProgram: PlaneSet.matchName) }

    /// What such a filter is named, too.
    public static let matchName = "throttle_match"
}
