import Foundation

extension Lab {
    /// Names of the cgroups that were made below `cgroup` (nil: ours) while `body` ran, also of those that are gone again: the
    /// kernel tells of each new directory by inotify(7).
    func watchingForCgroups<Value>(
        in cgroup: TestCgroup? = nil, _ body: () throws -> Value
    ) throws -> (value: Value, made: [String]) {
        let watch = inotify_init1(O_NONBLOCK | O_CLOEXEC)
        let path = cgroup?.path ?? self.cgroup.path
        guard watch >= 0, inotify_add_watch(watch, path, UInt32(IN_CREATE)) >= 0 else {
            throw HarnessError("inotify: \(String(cString: strerror(errno)))")
        }
        defer { close(watch) }
        let value = try body()
        var names: [String] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = read(watch, &buffer, buffer.count)
        var rest = buffer.prefix(max(count, 0))
        let header = MemoryLayout<inotify_event>.size
        while rest.count >= header {
            let length = rest.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 12, as: UInt32.self) }
            rest = rest.dropFirst(header)
            names.append(String(decoding: rest.prefix(Int(length)).prefix { $0 != 0 }, as: UTF8.self))
            rest = rest.dropFirst(Int(length))
        }
        return (value, names)
    }
}
