import CKernel
import Glibc
import Kernel

/// Calls `body` with each socket of an Internet protocol that a process has open, and its inode: with a descriptor of our
/// own, which is closed then. Those whose inode `isWanted` refuses aren't opened. Takes the right to trace the process
/// (ptrace(2)): without it, there are none.
package func forEachSocket(
    of process: pid_t, isWanted: (UInt64) -> Bool, _ body: (borrowing Descriptor, UInt64) -> Void
) {
    guard let folder = try? Descriptor(opening: "/proc/\(process)/fd", O_RDONLY | O_DIRECTORY) else { return }
    let handle = kernel_open_process(process)
    if handle < 0 { return }
    let owner = Descriptor(owning: handle)
    for name in folder.entries() {
        guard let number = CInt(name), let inode = socketInode(folder, name), isWanted(inode) else { continue }
        let copy = kernel_copy_descriptor(owner.rawValue, number)
        if copy < 0 { continue }
        let socket = Descriptor(owning: copy)
        // The number may stand for another one by now.
        var status = stat()
        if fstat(socket.rawValue, &status) == 0, UInt64(status.st_ino) == inode,
            [AF_INET, AF_INET6].contains(kernel_socket_family(socket.rawValue))
        {
            body(socket, inode)
        }
    }
}

/// That of a socket, as its link in /proc/PID/fd says; nil of anything else.
private func socketInode(_ folder: borrowing Descriptor, _ name: String) -> UInt64? {
    var text = [CChar](repeating: 0, count: 40)
    let length = readlinkat(folder.rawValue, name, &text, text.count - 1)
    guard length > 0, length < text.count - 1 else { return nil }
    let link = String(decoding: text.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return link.hasPrefix("socket:[") ? UInt64(link.dropFirst(8).dropLast()) : nil
}
