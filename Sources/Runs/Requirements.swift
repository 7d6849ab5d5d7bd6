import Kernel

/// Why limiting can't be set up here, in words for the user.
public struct SetupError: Error, CustomStringConvertible {
    /// What is wrong.
    let problem: String
    /// What the user can do about it.
    let advice: String?
    private let joint: String

    public var description: String { problem + (advice.map { joint + $0 } ?? "") }

    init(_ problem: String, advice: String? = nil, joint: String = "; ") {
        self.problem = problem
        self.advice = advice
        self.joint = joint
    }

    init(_ error: any Error) {
        switch error {
        case let error as SetupError: self = error
        case var error as SystemError:
            let hint = error.hint
            error.hint = nil
            self.init("\(error)", advice: hint)
        default: self.init("\(error)")
        }
    }
}

/// Runs `body` and turns its error into one for the user.
func setting<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
) throws(SetupError) -> Result {
    do {
        return try body()
    } catch {
        throw SetupError(error)
    }
}

/// The oldest kernel that we support.
let oldestKernel = KernelVersion(5, 10)

/// Checks what every run needs, and returns the kernel's version.
func checkRequirements() throws(SetupError) -> KernelVersion {
    let kernel = try checkKernel()
    try checkCapabilities()
    return kernel
}

func checkKernel() throws(SetupError) -> KernelVersion {
    let release = Host.kernelRelease
    guard let kernel = KernelVersion(release: release) else {
        throw SetupError("can't tell the version of kernel '\(release)'")
    }
    guard kernel >= oldestKernel else {
        throw SetupError("kernel \(release) is too old: limiting needs Linux \(oldestKernel) or newer")
    }
    return kernel
}

func checkCapabilities() throws(SetupError) {
    let missing = Host.missingCapabilities(of: [.bpf, .netAdmin, .perfmon])
    if missing.isEmpty { return }
    let names = missing.map(\.name).joined(separator: ", ")
    throw SetupError(
        "missing \(missing.count == 1 ? "capability" : "capabilities") \(names)",
        advice: "run as root, or once: sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep \(Host.executablePath)",
        joint: ": ")
}
