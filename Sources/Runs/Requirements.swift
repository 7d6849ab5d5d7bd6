import Kernel

/// Why limiting can't be set up here, in words for the user.
public struct SetupError: Error, CustomStringConvertible {
    public let description: String

    init(_ description: String) {
        self.description = description
    }

    init(_ error: any Error) {
        description = "\(error)"
    }
}

/// The oldest kernel that we support.
let oldestKernel = KernelVersion(5, 10)

/// Checks what every run needs, and returns the kernel's version.
func checkRequirements() throws(SetupError) -> KernelVersion {
    let release = Host.kernelRelease
    guard let kernel = KernelVersion(release: release) else {
        throw SetupError("can't tell the version of kernel '\(release)'")
    }
    guard kernel >= oldestKernel else {
        throw SetupError("kernel \(release) is too old: limiting needs Linux \(oldestKernel) or newer")
    }
    let missing = Host.missingCapabilities(of: [.bpf, .netAdmin, .perfmon])
    guard missing.isEmpty else {
        let names = missing.map(\.name).joined(separator: ", ")
        throw SetupError(
            "missing \(missing.count == 1 ? "capability" : "capabilities") \(names): run as root, or once:"
                + " sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep \(Host.executablePath)")
    }
    return kernel
}
