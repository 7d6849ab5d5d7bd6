import CLibBPF
import Kernel
import TestSupport
import Testing

@testable import Programs

extension KernelTests {
    @Suite struct SharedMapsTests {
        @Test(arguments: kernels)
        func `more programs load beside the limits of each kernel`(kernel: KernelVersion) throws {
            let maps = try ProgramSet(for: kernel).memory.maps
            let tcp = try TCPPrograms(sharing: maps)
            let queue = try QueuePrograms(sharing: maps)
            #expect(try information(tcp.descriptor(of: .tcp)).type == BPF_PROG_TYPE_SOCK_OPS.rawValue)
            for descriptor in [queue.shapeDescriptor, queue.matchDescriptor] {
                #expect(try information(descriptor).type == BPF_PROG_TYPE_SCHED_CLS.rawValue)
            }
        }

        @Test func `all programs of a run work on its maps, and on no other's`() throws {
            let runs = [try ProgramSet().memory.maps, try ProgramSet().memory.maps]
            let used = try runs.map { run in
                let queue = try QueuePrograms(sharing: run)
                let tcp = try TCPPrograms(sharing: run)
                return try maps(of: [tcp.descriptor(of: .tcp), queue.shapeDescriptor])
            }
            for (run, used) in zip(runs, used) { #expect(try ids(run).isSubset(of: used)) }
            #expect(used[0].isDisjoint(with: used[1]))
        }

        @Test func `each queue of a run has its own device and kind, and nothing else`() throws {
            let run = try ProgramSet().memory.maps
            let first = try QueuePrograms(sharing: run)
            let second = try QueuePrograms(sharing: run)
            let used = [try maps(of: [first.shapeDescriptor]), try maps(of: [second.shapeDescriptor])]
            #expect(used[0].subtracting(used[1]).count == 2)
            #expect(used[0].intersection(used[1]).isSubset(of: try ids(run)))
        }

        private func ids(_ maps: SharedMaps) throws -> Set<UInt32> {
            try Set(
                maps.descriptors.map { descriptor in
                    var info = bpf_map_info()
                    var size = UInt32(MemoryLayout<bpf_map_info>.size)
                    guard bpf_obj_get_info_by_fd(descriptor, &info, &size) == 0 else {
                        throw SystemError("read", "map")
                    }
                    return info.id
                })
        }

        /// Ids of the maps that any of the programs uses.
        private func maps(of programs: [CInt]) throws -> Set<UInt32> {
            var found: Set<UInt32> = []
            for descriptor in programs {
                var ids = [UInt32](repeating: 0, count: 16)
                let count = ids.withUnsafeMutableBufferPointer { ids in
                    var info = bpf_prog_info()
                    var size = UInt32(MemoryLayout<bpf_prog_info>.size)
                    (info.nr_map_ids, info.map_ids) = (16, UInt64(UInt(bitPattern: ids.baseAddress)))
                    return bpf_obj_get_info_by_fd(descriptor, &info, &size) == 0 ? Int(info.nr_map_ids) : -1
                }
                #expect(count > 0)
                found.formUnion(ids.prefix(max(0, count)))
            }
            return found
        }
    }
}
