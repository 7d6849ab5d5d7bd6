import Glibc

/// What this process's open descriptors lead to, as /proc/self/fd has it: a path, or `anon_inode:bpf_link`.
package func openDescriptors(below end: CInt = 1024) -> [String] {
    (0..<end).compactMap { fd in
        var target = [CChar](repeating: 0, count: Int(PATH_MAX))
        let length = readlink("/proc/self/fd/\(fd)", &target, target.count)
        return length < 0 ? nil : String(decoding: target[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
