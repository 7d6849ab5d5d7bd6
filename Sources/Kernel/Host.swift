import CKernel
import Glibc
import Synchronization

/// The release of a kernel, as far as features depend on it.
package struct KernelVersion: Comparable, Sendable, CustomStringConvertible {
    package let major: Int
    package let minor: Int

    package init(_ major: Int, _ minor: Int) {
        self.major = major
        self.minor = minor
    }

    /// Reads the start of a release string such as `6.1.0-25-amd64`; nil if it isn't of that form.
    package init?(release: String) {
        let numbers = release.split(separator: ".", maxSplits: 2).prefix(2).map {
            Int($0.prefix { $0.isASCII && $0.isNumber })
        }
        guard numbers.count == 2, let major = numbers[0], let minor = numbers[1] else { return nil }
        self.init(major, minor)
    }

    package static func < (left: KernelVersion, right: KernelVersion) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }

    package var description: String { "\(major).\(minor)" }
}

/// A capability that limiting needs, or running a command as another user.
package enum Capability: UInt64, CaseIterable, Sendable {
    case bpf = 39
    case netAdmin = 12
    case perfmon = 38
    case sysAdmin = 21
    case kill = 5
    case setgid = 6
    case setuid = 7

    /// As setcap(8) spells it.
    package var name: String {
        switch self {
        case .bpf: "cap_bpf"
        case .netAdmin: "cap_net_admin"
        case .perfmon: "cap_perfmon"
        case .sysAdmin: "cap_sys_admin"
        case .kill: "cap_kill"
        case .setgid: "cap_setgid"
        case .setuid: "cap_setuid"
        }
    }
}

/// The machine and the process that we are.
package enum Host {
    /// As uname(2) has it, such as `6.1.0-25-amd64`; empty where it fails.
    package static var kernelRelease: String { String(cString: kernel_release()) }

    /// Nanoseconds of CLOCK_MONOTONIC, the clock of BPF programs.
    package static var monotonicNanoseconds: UInt64 { kernel_monotonic_ns() }

    /// Those of `wanted` that this process lacks. CAP_SYS_ADMIN stands for BPF and PERFMON
    /// (include/linux/capability.h: bpf_capable, perfmon_capable).
    package static func missingCapabilities(of wanted: [Capability]) -> [Capability] {
        let held = kernel_effective_capabilities()
        let isAdmin = held & 1 << Capability.sysAdmin.rawValue != 0
        return wanted.filter { held & 1 << $0.rawValue == 0 && !(isAdmin && [.bpf, .perfmon].contains($0)) }
    }

    /// Runs `body` with the rights that the caller has without our file's capabilities: the kernel gives CAP_NET_ADMIN
    /// root's rights on /proc/sys/net (net/sysctl_net.c: net_ctl_permissions()). Root keeps its own.
    package static func withCallersRights<Result: ~Copyable, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard geteuid() != 0 else { return try body() }
        let held = kernel_effective_capabilities()
        guard kernel_use_capabilities(0) == 0 else { fatalError("can't lay down capabilities") }
        defer { _ = kernel_use_capabilities(held) }
        return try body()
    }

    /// An environment variable; nil also where it is empty.
    package static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// Writes to standard error, or to another descriptor, as far as it takes the text: there is nobody left to tell. A
    /// terminal that is stopped (Ctrl-S) is waited for: a second, ten if this `isLast`, and not at all while it stays so;
    /// nor once a signal has come that is to end us.
    package static func tell(_ text: String, on descriptor: CInt = 2, isLast: Bool = false) {
        let bytes = Array(text.utf8)
        let wasStopped = isStopped.withLock { $0 }
        let patience: CInt = isLast ? (wasStopped ? 1000 : 10_000) : (wasStopped ? 0 : 1000)
        let result = kernel_write_patiently(descriptor, bytes, bytes.count, patience)
        isStopped.withLock { $0 = result < 0 && errno == ETIMEDOUT }
    }

    private static let isStopped = Mutex(false)

    /// The path of our own binary, as a setcap line needs it.
    package static var executablePath: String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let length = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard length > 0 else { return "throttle" }
        return String(decoding: buffer[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Whether systemd runs this machine, as sd_booted(3) tells it.
    package static var hasSystemd: Bool { access("/run/systemd/system", F_OK) == 0 }

    /// The network namespace that the calling thread is in (namespaces(7)).
    package static let networkNamespacePath = "/proc/thread-self/ns/net"

    /// Its inode; nil where /proc doesn't tell.
    package static var networkNamespace: UInt64? {
        var status = stat()
        return stat(networkNamespacePath, &status) == 0 ? UInt64(status.st_ino) : nil
    }

    /// The cookie of the network namespace that the calling thread is in, by which BPF programs know it; nil before Linux
    /// 5.14.
    package static var networkCookie: UInt64? {
        Descriptor(owning: socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)).networkCookie
    }

    /// The kernel's HZ: how many jiffies a second has.
    package static var ticksPerSecond: Int {
        var resolution = timespec()
        clock_getres(CLOCK_MONOTONIC_COARSE, &resolution)
        return 1_000_000_000 / max(1, resolution.tv_nsec)
    }

    /// Whether process 1 here is the machine's own, which reaps whatever is left to it. The initial pid namespace has a
    /// fixed inode (include/linux/proc_ns.h: PROC_PID_INIT_INO).
    package static var isInInitialProcessNamespace: Bool {
        var status = stat()
        return stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == 0xefff_fffc
    }

    /// All that /proc shows.
    package static var processes: [pid_t] {
        let entries = (try? Descriptor(opening: "/proc", O_RDONLY | O_DIRECTORY))?.entries(CInt(DT_DIR)) ?? []
        return entries.compactMap { pid_t($0) }
    }

    /// Whether we are in a user namespace that gives users other ids (user_namespaces(7)), or can't tell.
    package static var hasUserIDsOfItsOwn: Bool {
        let map = (try? readText("/proc/self/uid_map"))?.split(whereSeparator: \.isWhitespace)
        return map != ["0", "0", "4294967295"]
    }

    /// Which of the network namespaces with these inodes are still there: a process is in it, or it is mounted somewhere.
    package static func present(_ namespaces: Set<UInt64>) -> Set<UInt64> { Set(open(namespaces).keys) }

    /// Runs `body` in each of the network namespaces with these inodes that can be reached. Takes CAP_SYS_ADMIN.
    package static func inNetworkNamespaces<Result>(_ namespaces: Set<UInt64>, _ body: () -> Result) -> [Result] {
        if namespaces.isEmpty { return [] }
        guard let home = ownNetworkNamespace else { return [] }
        defer { _ = kernel_enter_network(home.rawValue) }
        let places = open(namespaces).sorted { $0.key < $1.key }.map(\.value)
        return places.compactMap { kernel_enter_network($0.rawValue) == 0 ? body() : nil }
    }

    /// In one look at all processes and mounts, as there may be many.
    private static func open(_ namespaces: Set<UInt64>) -> [UInt64: OpenFile] {
        if namespaces.isEmpty { return [:] }
        let mounts = (try? readText("/proc/self/mountinfo"))?.split(separator: "\n") ?? []
        let places =
            processes.map { "/proc/\($0)/ns/net" }
            + mounts.map { $0.split(separator: " ") }.filter { $0.drop { $0 != "-" }.dropFirst().first == "nsfs" }
            .map { String($0[4]) }
        var found: [UInt64: OpenFile] = [:]
        for place in places {
            var status = stat()
            guard stat(place, &status) == 0, case let inode = UInt64(status.st_ino), namespaces.contains(inode),
                found[inode] == nil, let file = try? Descriptor(opening: place, O_RDONLY)
            else { continue }
            found[inode] = OpenFile(file)
        }
        return found
    }

    /// A descriptor that collections can have.
    private final class OpenFile {
        private let descriptor: Descriptor
        var rawValue: CInt { descriptor.rawValue }

        init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
    }

    private static var ownNetworkNamespace: Descriptor? { try? Descriptor(opening: networkNamespacePath, O_RDONLY) }

    /// Runs `body` in a network namespace of its own, where loopback is up. What it makes there goes with it, also where we
    /// are killed meanwhile. Takes CAP_SYS_ADMIN.
    package static func inScratchNetwork(_ body: () -> Void) throws(SystemError) {
        guard let home = ownNetworkNamespace else { throw SystemError("open", networkNamespacePath) }
        if kernel_make_network() < 0 { throw SystemError("make", "a network namespace") }
        defer { _ = kernel_enter_network(home.rawValue) }
        if kernel_start_loopback() < 0 { throw SystemError("start", "loopback in a network namespace") }
        body()
    }

    /// The size of the terminal that a descriptor is; nil where it is none, or doesn't tell.
    package static func terminalSize(of descriptor: CInt) -> (rows: Int, columns: Int)? {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0, size.ws_col > 0 else { return nil }
        return (Int(size.ws_row), Int(size.ws_col))
    }

    /// Keeps our descriptors off the numbers 0 to 2 where the caller closed them.
    package static func occupyStandardDescriptors() throws(SystemError) {
        if kernel_occupy_standard_fds() < 0 { throw SystemError("open", "/dev/null") }
    }

    /// The inherited descriptors that are Internet sockets: made outside the run, they aren't limited.
    package static func inheritedInternetSockets() -> [CInt] {
        (0..<64).filter { fd in
            let family = kernel_socket_family(fd)
            return family == AF_INET || family == AF_INET6
        }
    }
}
