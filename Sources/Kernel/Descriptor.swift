import CKernel
import Glibc
import SystemPackage

/// A file descriptor that its scope closes.
package struct Descriptor: ~Copyable, Sendable {
    /// The number; to be closed by nobody else.
    package let rawValue: CInt

    /// Owns `rawValue` from now on. The descriptor must be CLOEXEC: the command inherits none of ours.
    package init(owning rawValue: CInt) {
        self.rawValue = rawValue
    }

    /// Opens `path`, relative to the directory `base` where one is given. CLOEXEC is added to `flags`.
    package init(opening path: String, in base: CInt = AT_FDCWD, _ flags: CInt, mode: mode_t = 0) throws(Errno) {
        var descriptor: CInt
        repeat {
            descriptor = openat(base, path, flags | O_CLOEXEC, mode)
        } while descriptor < 0 && Glibc.errno == EINTR
        if descriptor < 0 { throw Errno(rawValue: Glibc.errno) }
        self.init(owning: descriptor)
    }

    deinit {
        close(rawValue)
    }

    /// Gives the descriptor up without closing it.
    package consuming func release() -> CInt {
        let descriptor = rawValue
        discard self
        return descriptor
    }

    /// Another one for the open file of `descriptor`, with its position and locks.
    package init(copying descriptor: CInt) throws(Errno) {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        if copy < 0 { throw Errno(rawValue: Glibc.errno) }
        self.init(owning: copy)
    }

    /// Another one for the same open file.
    package func copy() throws(Errno) -> Descriptor { try Descriptor(copying: rawValue) }

    /// Whether `name` in `directory` is this file.
    package func isNamed(_ name: String, in directory: borrowing Descriptor) -> Bool {
        var own = stat()
        var named = stat()
        return fstat(rawValue, &own) == 0
            && fstatat(directory.rawValue, name, &named, AT_SYMLINK_NOFOLLOW) == 0
            && (own.st_dev, own.st_ino) == (named.st_dev, named.st_ino)
    }

    /// Whether another process has this file's lock (flock(2)), or that can't be told. Those who only ask this aren't
    /// taken for one that has it.
    package var isLockedByOthers: Bool {
        if flock(rawValue, LOCK_SH | LOCK_NB) < 0 { return true }
        flock(rawValue, LOCK_UN)
        return false
    }

    /// Takes the file's lock; false, with errno, if another process has it for longer.
    package func lock(milliseconds: Int = 0) -> Bool {
        for attempt in 0...milliseconds {
            if attempt > 0 { usleep(1000) }
            if flock(rawValue, LOCK_EX | LOCK_NB) == 0 { return true }
            if Glibc.errno != EWOULDBLOCK { return false }
        }
        return false
    }

    /// Reads to the end of the file; where that doesn't come, not much more than `limit` bytes.
    package func readAll(upTo limit: Int = .max) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while bytes.count <= limit {
            let count = read(rawValue, &buffer, buffer.count)
            if count < 0 && Glibc.errno == EINTR { continue }
            if count < 0 { throw Errno(rawValue: Glibc.errno) }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
        }
        return bytes
    }

    /// Opens `name` in a directory, following no link, and on the directory's file system only: what an ordinary user
    /// mounted (FUSE) may keep whoever opens it waiting.
    package init(openingWithin directory: borrowing Descriptor, _ name: String, _ flags: CInt) throws(Errno) {
        let descriptor = kernel_open_within(directory.rawValue, name, flags)
        if descriptor < 0 { throw Errno(rawValue: Glibc.errno) }
        self.init(owning: descriptor)
    }

    /// Whether a process serves this file's system, any user's, which may never answer (FUSE); true where that can't be
    /// told. Doesn't ask it.
    package var isServedByProcess: Bool {
        let device = kernel_device_of(rawValue)
        let number = "\(device >> 32):\(device & 0xffff_ffff)"
        let mounts = (try? readText("/proc/self/mountinfo"))?.split(separator: "\n") ?? []
        // proc_pid_mountinfo(5): the device is the third field, the type follows a lone hyphen.
        return !mounts.contains { mount in
            let fields = mount.split(separator: " ")
            guard fields.count > 3, fields[2] == number, let mark = fields.firstIndex(of: "-") else { return false }
            return mark + 1 < fields.count && !fields[mark + 1].hasPrefix("fuse")
        }
    }

    /// The names in this directory: all, or those of one type (DT_DIR, …), but not more than `limit`.
    package func entries(_ type: CInt? = nil, limit: Int = .max) -> [String] {
        // With a position of its own.
        guard let copy = try? Descriptor(opening: ".", in: rawValue, O_RDONLY | O_DIRECTORY),
            let stream = fdopendir(copy.release())
        else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while names.count < limit, let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name != "." && name != ".." else { continue }
            if type == nil || CInt(entry.pointee.d_type) == type { names.append(name) }
        }
        return names
    }

    /// Writes all of `text`.
    package func write(_ text: String) throws(Errno) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(rawValue, $0.baseAddress, $0.count) }
            if count < 0 && Glibc.errno != EINTR { throw Errno(rawValue: Glibc.errno) }
            rest = rest.dropFirst(max(count, 0))
        }
    }
}

/// The whole of a small text file, such as those of /proc and of a cgroup.
package func readText(_ path: String, in base: CInt = AT_FDCWD) throws(Errno) -> String {
    let file = try Descriptor(opening: path, in: base, O_RDONLY)
    return String(decoding: try file.readAll(), as: UTF8.self)
}

/// Options of sockets (socket(7)).
extension Descriptor {
    /// One of level SOL_SOCKET; nil where the kernel has no answer.
    package func socketOption<Value: BitwiseCopyable>(_ name: CInt, _ none: Value) -> Value? {
        var (value, size) = (none, socklen_t(MemoryLayout<Value>.size))
        return getsockopt(rawValue, SOL_SOCKET, name, &value, &size) == 0 ? value : nil
    }

    /// Whether the kernel took it.
    @discardableResult
    package func setSocketOption<Value: BitwiseCopyable>(_ name: CInt, _ value: Value) -> Bool {
        withUnsafeBytes(of: value) { setsockopt(rawValue, SOL_SOCKET, name, $0.baseAddress, socklen_t($0.count)) } == 0
    }

    /// The cookie of a socket's network namespace (SO_NETNS_COOKIE of asm-generic/socket.h); nil before Linux 5.14.
    package var networkCookie: UInt64? { socketOption(71, 0) }
}
