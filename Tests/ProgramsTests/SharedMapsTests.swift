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
            #expect(try information(tcp.descriptor(of: .tcp)).type == BPF_PROG_TYPE_SOCK_OPS.rawValue)
            for way in [QueueProgram.Way.link, .filter] {
                let queue = try QueueProgram(sharing: maps, for: way)
                #expect(try information(queue.descriptor).type == BPF_PROG_TYPE_SCHED_CLS.rawValue)
            }
        }

        @Test func `all programs of a run work on its maps, and on no other's`() throws {
            let memories = [try ProgramSet().memory, try ProgramSet().memory]
            let runs = memories.map(\.maps)
            let used = try memories.map { memory in
                let run = memory.maps
                let limits = try ProgramSet(for: KernelVersion(6, 18), sharing: memory)
                let queue = try QueueProgram(sharing: run, for: .link)
                let tcp = try TCPPrograms(sharing: run)
                return try maps(of: [limits.descriptor(of: .meter(.down)), tcp.descriptor(of: .tcp), queue.descriptor])
            }
            for (run, used) in zip(runs, used) { #expect(try ids(run).isSubset(of: used)) }
            #expect(used[0].isDisjoint(with: used[1]))
        }

        @Test func `each queue of a run has its own device and kind, and nothing else`() throws {
            let run = try ProgramSet().memory.maps
            let first = try QueueProgram(sharing: run, for: .link)
            let second = try QueueProgram(sharing: run, for: .link)
            let used = [try maps(of: [first.descriptor]), try maps(of: [second.descriptor])]
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
