import CKernel
import Glibc
import Kernel
import SystemPackage

/// Calls `body` with each socket of an Internet protocol that the processes have open, once, and its inode: with a descriptor
/// of our own, which is closed then. Those whose inode `isWanted` refuses aren't opened. Takes the right to trace the processes
/// (ptrace(2)): returns why some couldn't be reached; nil where nothing was in the way, also of those that have ended.
@discardableResult
package func forEachSocket(
    of processes: [pid_t], isWanted: (UInt64) -> Bool = { _ in true }, _ body: (borrowing Descriptor, UInt64) -> Void
) -> SystemError? {
    var seen: Set<UInt64> = []
    var failure: SystemError?
    for process in processes {
        let refused = forEachSocket(of: process, { seen.insert($0).inserted && isWanted($0) }, body)
        failure = failure ?? refused
    }
    return failure
}

private func forEachSocket(
    of process: pid_t, _ isWanted: (UInt64) -> Bool, _ body: (borrowing Descriptor, UInt64) -> Void
) -> SystemError? {
    let folder: Descriptor
    do throws(Errno) {
        folder = try Descriptor(opening: "/proc/\(process)/fd", O_RDONLY | O_DIRECTORY)
    } catch {
        return refusal(process, error)
    }
    let handle = kernel_open_process(process)
    if handle < 0 { return refusal(process, Errno(rawValue: errno)) }
    let owner = Descriptor(owning: handle)
    var failure: SystemError?
    for name in folder.entries() {
        guard let number = CInt(name), let inode = socketInode(folder, name), isWanted(inode) else { continue }
        let copy = kernel_copy_descriptor(owner.rawValue, number)
        if copy < 0 {
            // It may have been closed meanwhile.
            if errno != EBADF { failure = failure ?? refusal(process, Errno(rawValue: errno)) }
            continue
        }
        let socket = Descriptor(owning: copy)
        // The number may stand for another one by now.
        var status = stat()
        if fstat(socket.rawValue, &status) == 0, UInt64(status.st_ino) == inode,
            [AF_INET, AF_INET6].contains(kernel_socket_family(socket.rawValue))
        {
            body(socket, inode)
        }
    }
    return failure
}

private func refusal(_ process: pid_t, _ errno: Errno) -> SystemError? {
    if errno == .noSuchFileOrDirectory || errno == .noSuchProcess { return nil }
    return SystemError(
        "reach", "the sockets of process \(process)", errno: errno,
        hint: "it takes root, or CAP_SYS_PTRACE (capabilities(7), ptrace(2))")
}

/// That of a socket, as its link in /proc/PID/fd says; nil of anything else.
private func socketInode(_ folder: borrowing Descriptor, _ name: String) -> UInt64? {
    var text = [CChar](repeating: 0, count: 40)
    let length = readlinkat(folder.rawValue, name, &text, text.count - 1)
    guard length > 0, length < text.count - 1 else { return nil }
    let link = String(decoding: text.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return link.hasPrefix("socket:[") ? UInt64(link.dropFirst(8).dropLast()) : nil
}
