import Kernel

/// The oldest kernel that we support.
let oldestKernel = KernelVersion(5, 10)

/// Checks what every run needs, and returns the kernel's version.
package func checkRequirements() throws(SetupError) -> KernelVersion {
    let kernel = try checkKernel()
    try checkCapabilities()
    return kernel
}

package func checkKernel() throws(SetupError) -> KernelVersion {
    let release = Host.kernelRelease
    guard let kernel = KernelVersion(release: release) else {
        throw SetupError("can't tell the version of kernel '\(release)'")
    }
    guard kernel >= oldestKernel else {
        throw SetupError("kernel \(release) is too old: limiting needs Linux \(oldestKernel) or newer")
    }
    return kernel
}

package func checkCapabilities() throws(SetupError) {
    let missing = Host.missingCapabilities(of: [.bpf, .netAdmin, .perfmon])
    if missing.isEmpty { return }
    let names = missing.map(\.name).joined(separator: ", ")
    throw SetupError(
        "missing \(missing.count == 1 ? "capability" : "capabilities") \(names)",
        advice: "run as root, or once: sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep \(Host.executablePath)",
        joint: ": ")
}
