import CLibBPF
import CPrograms
import Glibc
import Kernel
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

    /// Loads an object into the kernel that works on a run's maps.
    static func loaded(_ embedded: programs_object, on maps: SharedMaps) throws(LoadError) -> BPFObject {
        let object = try BPFObject(embedded)
        try object.use(maps)
        try object.load()
        return object
    }

    /// Takes this descriptor for the map of this name, instead of making one.
    func use(_ descriptor: CInt, forMap name: String) throws(LoadError) {
        let own = bpf_object__find_map_by_name(pointer, name)
        if bpf_map__reuse_fd(own, descriptor) != 0 { throw LoadError(errno: Errno(rawValue: errno)) }
    }

    /// Doesn't load the program of this name.
    func leaveOut(_ program: String) {
        bpf_program__set_autoload(bpf_object__find_program_by_name(pointer, program), false)
    }

    /// Doesn't make the maps of these names, which no program gets to.
    func leaveOut(maps names: [String]) {
        for name in names where hasMap(name) {
            bpf_map__set_autocreate(bpf_object__find_map_by_name(pointer, name), false)
        }
    }

    func hasMap(_ name: String) -> Bool { bpf_object__find_map_by_name(pointer, name) != nil }

    /// What a map of constants holds; before the programs are loaded, as they are checked and compiled for it.
    func set<Value: BitwiseCopyable>(_ value: Value, ofMap name: String) throws(LoadError) {
        var value = value
        let map = bpf_object__find_map_by_name(pointer, name)
        if bpf_map__set_initial_value(map, &value, MemoryLayout<Value>.size) != 0 {
            throw LoadError(errno: Errno(rawValue: errno))
        }
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

    /// One of our own.
    func copyDescriptor(ofMap name: String) throws(LoadError) -> Descriptor {
        do throws(Errno) {
            return try Descriptor(copying: descriptor(ofMap: name))
        } catch {
            throw LoadError(errno: error)
        }
    }

    deinit {
        bpf_object__close(pointer)
    }
}

/// A map of a loaded object that holds one value, which user space and programs both write, mapped.
struct SharedMemory<Value: BitwiseCopyable>: ~Copyable {
    let value: UnsafeMutablePointer<Value>

    init(of object: borrowing BPFObject, _ map: String) throws(LoadError) {
        let descriptor = object.descriptor(ofMap: map)
        let start = mmap(nil, MemoryLayout<Value>.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
        guard let start, start != MAP_FAILED else { throw LoadError(errno: Errno(rawValue: errno)) }
        value = start.assumingMemoryBound(to: Value.self)
    }

    deinit {
        munmap(value, MemoryLayout<Value>.size)
    }
}

/// The maps of bpf/maps.h, bpf/group.h and bpf/queue.h.
enum Map {
    static let run = ".data.run"
    static let group = ".data.group"
    static let alarm = "alarm"
    static let ports = ".bss.ports"
    static let sockets = "sockets"
    static let prefixes = "prefixes"
    static let constants = ".rodata.run"
    static let queueConstants = ".rodata.queue"
    static let queueTarget = ".data.queue"
}
