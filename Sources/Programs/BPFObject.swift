import CLibBPF
import CPrograms
import Glibc
import SystemPackage

/// A BPF object of libbpf.
struct BPFObject: ~Copyable {
    let pointer: OpaquePointer

    /// Opens an object; its programs aren't in the kernel yet.
    init(_ embedded: programs_object) throws(LoadError) {
        LibBPFLog.start()
        guard let pointer = bpf_object__open_mem(embedded.bytes, embedded.size, nil) else {
            throw LoadError(errno: Errno(rawValue: errno))
        }
        self.pointer = pointer
    }

    /// Takes the map of this name from another object, instead of making one.
    func share(_ map: String, of other: borrowing BPFObject) throws(LoadError) {
        let own = bpf_object__find_map_by_name(pointer, map)
        if bpf_map__reuse_fd(own, other.descriptor(ofMap: map)) != 0 { throw LoadError(errno: Errno(rawValue: errno)) }
    }

    func load() throws(LoadError) {
        if bpf_object__load(pointer) != 0 { throw LoadError(errno: Errno(rawValue: errno)) }
    }

    /// The file descriptor of a program, for as long as the object lives.
    func descriptor(of hook: Hook) -> CInt { descriptor(ofProgram: hook.programName) }

    func descriptor(ofProgram name: String) -> CInt {
        bpf_program__fd(bpf_object__find_program_by_name(pointer, name))
    }

    func descriptor(ofMap name: String) -> CInt {
        bpf_object__find_map_fd_by_name(pointer, name)
    }

    deinit {
        bpf_object__close(pointer)
    }
}

/// The map of a loaded object that user space and programs both write, mapped.
struct SharedMemory: ~Copyable {
    let run: UnsafeMutablePointer<throttle_run>

    init(of object: borrowing BPFObject) throws(LoadError) {
        let size = MemoryLayout<throttle_run>.size
        let map = object.descriptor(ofMap: Map.run)
        let start = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0)
        guard let start, start != MAP_FAILED else { throw LoadError(errno: Errno(rawValue: errno)) }
        run = start.assumingMemoryBound(to: throttle_run.self)
    }

    deinit {
        munmap(run, MemoryLayout<throttle_run>.size)
    }
}

/// The maps of bpf/maps.h.
enum Map {
    static let run = ".data.run"
    static let all = [run, ".bss", "sockets"]
}
