import Glibc
import Kernel

/// The maps that all programs of a run work on: what a process needs to load more of them.
package final class SharedMaps {
    /// Our own, in the order of `names`.
    package private(set) var descriptors: [CInt] = []

    private static let names = [Map.run, Map.ports, "sockets", Map.prefixes, Map.constants]

    init(of object: borrowing BPFObject) throws(LoadError) {
        for name in SharedMaps.names { descriptors.append(try object.copyDescriptor(ofMap: name).release()) }
    }

    deinit {
        for descriptor in descriptors { close(descriptor) }
    }

    fileprivate var byName: Zip2Sequence<[String], [CInt]> { zip(SharedMaps.names, descriptors) }
}

extension BPFObject {
    /// Takes a run's maps, instead of making its own.
    func use(_ maps: SharedMaps) throws(LoadError) {
        for (name, descriptor) in maps.byName { try use(descriptor, forMap: name) }
    }
}
