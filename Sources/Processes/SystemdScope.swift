import CKernel
import Glibc
import Kernel

/// A cgroup of systemd's making that is delegated to us, for those whose own isn't theirs to divide.
package enum SystemdScope {
    /// Starts this process over inside such a cgroup, with the same command, its last `count` words, and the same
    /// options but for `--systemd`. systemd-run(1) then executes us in its place, so the pid, the terminal and the
    /// status stay. Only returns by throwing.
    package static func enter(commandOf count: Int) throws(SystemError) -> Never {
        let words = UnsafeBufferPointer(start: CommandLine.unsafeArgv, count: Int(CommandLine.argc)).dropFirst()
        var options = words.dropLast(count)
        if options.first.map({ equals($0, "run") }) == true { options = options.dropFirst() }
        let kept = options.filter { !equals($0, "--systemd") && !equals($0, "--") }
        let scope = ["systemd-run"] + (geteuid() == 0 ? [] : ["--user"]) + ["--scope", "--quiet", "-p", "Delegate=yes"]
        let start = (scope + ["--", Host.executablePath, "run"]).map { strdup($0) }
        let arguments = start + kept + [strdup("--")] + words.suffix(count) + [nil]
        kernel_exec(arguments, kernel_original_environment(CommandLine.argc, CommandLine.unsafeArgv))
        throw SystemError(
            "execute", "systemd-run",
            hint: "without it --systemd can't work: run as root, or in a cgroup that is delegated to you")
    }

    private static func equals(_ word: UnsafeMutablePointer<CChar>?, _ text: String) -> Bool {
        word.map { strcmp($0, text) == 0 } ?? false
    }
}
