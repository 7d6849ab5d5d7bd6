import Foundation

/// What the tests run besides the tools of the system: sources in Fixtures/, compiled once for each test run.
enum Fixtures {
    /// See probe.c.
    static let probe = Result { try build("probe", ["-O1"]) }
    /// See storm.c.
    static let storm = Result { try build("storm", ["-O1"]) }
    /// See wan.c.
    static let wan = Result { try build("wan", ["-O2"]) }
    /// An object with the programs of foreign.bpf.c.
    static let foreignPrograms = Result {
        // One of these is there: <asm/types.h> is what libc6-dev has for the machine.
        let headers = ["x86_64", "aarch64"].map { "-I/usr/include/\($0)-linux-gnu" }
        return try build("foreign.bpf", ["-target", "bpf", "-g", "-O2", "-c"] + headers)
    }

    static func script(_ name: String) -> String { "\(folder)/\(name)" }

    private static let folder = "\(packageRoot)/Tests/EndToEndTests/Fixtures"

    private static func build(_ name: String, _ flags: [String]) throws -> String {
        let output = "\(packageRoot)/.build/e2e-\(name)"
        let words = ["clang"] + flags + ["-Wall", "-Wextra", "-Werror", "-o", output, "\(folder)/\(name).c"]
        let completed = try Child(words).wait()
        guard completed.ending == .exited(0) else { throw HarnessError("can't build \(name): \(completed.stderr)") }
        return output
    }
}
