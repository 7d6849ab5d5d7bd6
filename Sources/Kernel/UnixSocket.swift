import Glibc
import SystemPackage

extension Descriptor {
    /// A stream socket that is bound to a name: a path below the working directory, or, from a NUL on, an abstract one
    /// of this network namespace (unix(7)).
    package init(binding name: String) throws(Errno) {
        try self.init(unixSocket: name) { bind($0, $1, $2) }
    }

    /// A stream socket that is connected to such a name. No call on it waits: nor does this one, which fails with EAGAIN
    /// where others wait already.
    package init(connecting name: String) throws(Errno) {
        try self.init(unixSocket: name, CInt(SOCK_NONBLOCK.rawValue)) { connect($0, $1, $2) }
    }

    private init(
        unixSocket name: String, _ flags: CInt = 0, _ call: (CInt, UnsafePointer<sockaddr>, socklen_t) -> CInt
    ) throws(Errno) {
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue) | flags, 0)
        if descriptor < 0 { throw Errno(rawValue: errno) }
        let owned = Descriptor(owning: descriptor)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(name.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { throw .fileNameTooLong }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { call(descriptor, $0, size) }
        }
        if result < 0 { throw Errno(rawValue: errno) }
        self.init(owning: owned.release())
    }

    /// Sends `text`, of less than a kilobyte, at once. If nobody reads it any more that is an error, and no SIGPIPE.
    package func send(_ text: String) throws(Errno) {
        let bytes = Array(text.utf8)
        if Glibc.send(rawValue, bytes, bytes.count, CInt(MSG_NOSIGNAL)) < 0 { throw Errno(rawValue: errno) }
    }

    /// Receives to the other end's last byte, but not much more than `limit`. However that sends them, it isn't waited for
    /// longer than so in all.
    package func receiveAll(upTo limit: Int, milliseconds: UInt64) throws(Errno) -> [UInt8] {
        let deadline = Host.monotonicNanoseconds + milliseconds * 1_000_000
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while bytes.count <= limit {
            try wait(for: POLLIN, until: deadline)
            let count = recv(rawValue, &buffer, buffer.count, CInt(MSG_DONTWAIT))
            if count == 0 { return bytes }
            if count < 0 && ![EAGAIN, EINTR].contains(errno) { throw Errno(rawValue: errno) }
            bytes += buffer[..<max(count, 0)]
        }
        return bytes
    }

    /// Sends all of `text`. However the other end takes it, it isn't waited for longer than so in all.
    package func sendAll(_ text: String, milliseconds: UInt64) throws(Errno) {
        let deadline = Host.monotonicNanoseconds + milliseconds * 1_000_000
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            try wait(for: POLLOUT, until: deadline)
            let count = rest.withUnsafeBytes {
                Glibc.send(rawValue, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
            }
            if count < 0 && ![EAGAIN, EINTR].contains(errno) { throw Errno(rawValue: errno) }
            rest = rest.dropFirst(max(count, 0))
        }
    }

    /// Returns when that can be done, maybe; fails once it is later.
    private func wait(for events: CInt, until deadline: UInt64) throws(Errno) {
        let now = Host.monotonicNanoseconds
        let left = deadline > now ? CInt((deadline - now) / 1_000_000) + 1 : 0
        var descriptor = pollfd(fd: rawValue, events: Int16(events), revents: 0)
        if poll(&descriptor, 1, left) == 0 { throw .timedOut }
    }
}
