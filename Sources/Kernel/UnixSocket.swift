import Glibc
import SystemPackage

extension Descriptor {
    /// A stream socket that is bound to a name: a path below the working directory, or, from a NUL on, an abstract one
    /// of this network namespace (unix(7)).
    public init(binding name: String) throws(Errno) {
        try self.init(unixSocket: name) { bind($0, $1, $2) }
    }

    /// A stream socket that is connected to such a name. No call on it waits: nor does this one, which fails with EAGAIN
    /// where others wait already.
    public init(connecting name: String) throws(Errno) {
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
    public func send(_ text: String) throws(Errno) {
        let bytes = Array(text.utf8)
        if Glibc.send(rawValue, bytes, bytes.count, CInt(MSG_NOSIGNAL)) < 0 { throw Errno(rawValue: errno) }
    }

    /// No call on this socket waits longer.
    public func setTimeout(milliseconds: Int) {
        var time = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
        let size = socklen_t(MemoryLayout<timeval>.size)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] { setsockopt(rawValue, SOL_SOCKET, option, &time, size) }
    }
}
