import Glibc
import Kernel

/// The maps that all programs of a run work on: what a process needs to load more of them.
package final class SharedMaps {
    /// Our own, in the order of `names`.
    package private(set) var descriptors: [CInt] = []

    private let names: [String]
    private static let usual = [
        Map.run, Map.group, Map.ports, Map.alarm, Map.sockets, Map.prefixes, Map.constants,
    ]
    /// Of a run whose round trips are timed.
    static let ofTimes = ["times", "bases"]

    init(of object: borrowing BPFObject, isTimed: Bool) throws(LoadError) {
        names = SharedMaps.usual + (isTimed ? SharedMaps.ofTimes : [])
        for name in names { descriptors.append(try object.copyDescriptor(ofMap: name).release()) }
    }

    deinit {
        for descriptor in descriptors { close(descriptor) }
    }

    /// That of the map of this name; -1 where there is none.
    func descriptor(of name: String) -> CInt { byName.first { $0.0 == name }?.1 ?? -1 }

    fileprivate var byName: Zip2Sequence<[String], [CInt]> { zip(names, descriptors) }
}

extension BPFObject {
    /// Takes a run's maps, as far as it has them, instead of making its own.
    func use(_ maps: SharedMaps) throws(LoadError) {
        for (name, descriptor) in maps.byName where hasMap(name) { try use(descriptor, forMap: name) }
        if maps.descriptor(of: SharedMaps.ofTimes[0]) < 0 { leaveOut(maps: SharedMaps.ofTimes) }
    }
}
