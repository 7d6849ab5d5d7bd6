import Glibc
import SystemPackage

/// A failed system call: what was tried, on which object, why it failed, and what the user can do.
package struct SystemError: Error, CustomStringConvertible {
    /// What was tried, as words that follow "can't": `create cgroup`.
    package let operation: String
    /// The object: a path, a program.
    package let subject: String
    /// Why it failed.
    package let errno: Errno
    /// What the user can do about it.
    package var hint: String?

    /// `errno`: nil for that of the call that failed just now.
    package init(_ operation: String, _ subject: String, errno: Errno? = nil, hint: String? = nil) {
        self.operation = operation
        self.subject = subject
        self.errno = errno ?? Errno(rawValue: Glibc.errno)
        self.hint = hint
    }

    package var description: String {
        "can't \(operation) \(subject): \(errno)" + (hint.map { "; \($0)" } ?? "")
    }
}

/// Runs `body` and names what was tried if it fails.
package func attempting<Result: ~Copyable>(
    _ operation: String, _ subject: String, hint: String? = nil, _ body: () throws(Errno) -> Result
) throws(SystemError) -> Result {
    do {
        return try body()
    } catch {
        throw SystemError(operation, subject, errno: error, hint: hint)
    }
}
