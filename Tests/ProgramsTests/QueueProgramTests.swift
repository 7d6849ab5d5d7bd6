import CKernel
import CLibBPF
import CPrograms
import Cgroups
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing
import Units

@testable import Programs

extension KernelTests {
    @Suite struct QueueProgramTests {
        private static let pass: CInt = -1  // TC_ACT_UNSPEC
        private static let redirect: CInt = 7  // TC_ACT_REDIRECT

        @Test(arguments: kernels)
        func `what isn't for the run passes the shaper, whatever it is`(kernel: KernelVersion) throws {
            let programs = try ProgramSet(for: kernel, .bytesPerSecond(1000))
            let queue = try QueueProgram(sharing: programs.memory.maps, for: .link)
            for device in [false, true] {
                programs.memory.useQueues(.down, device)
                for sample in PacketCase.wellFormed + PacketCase.malformed {
                    let result = try Calls(program: queue.descriptor, sample).action(3)
                    #expect(result == QueueProgramTests.pass, "\(sample.testDescription)")
                }
            }
        }

        /// Opens the socket of a sample, with this process in a cgroup that has the programs, or not. Returns its port.
        private static func open(
            _ sample: Sample, inRunOf programs: borrowing ProgramSet, if isInside: Bool = true
        ) throws -> UInt16 {
            let group = try TestCgroup()
            try group.make("run")
            let run = try group.open("run")
            var attachments = Attachments(log: .silent)
            let marking = try TCPPrograms(sharing: programs.memory.maps)
            try attachments.attach(.sockets, of: marking, to: run.descriptor, at: run.path, by: .link)
            for hook in [Hook.meter(.down), .meter(.up)] {
                try attachments.attach(hook, of: programs, to: run.descriptor, at: run.path, by: .link)
            }
            let caller = try CgroupDirectory.ofCaller()
            if isInside { try Descriptor(opening: run.path + "/cgroup.procs", O_WRONLY).write("\(getpid())") }
            let port = try sample.open()
            try Descriptor(opening: caller.path + "/cgroup.procs", O_WRONLY).write("\(getpid())")
            return port
        }

        /// In a namespace of their own: sockets are found there.
        @Test(arguments: [Sample.udp4, .udp6, .tcp4, .tcp6], [true, false])
        func `what is for a socket of the run goes through its queue`(sample: Sample, ofRun: Bool) async {
            await #expect(processExitsWith: .success) { [name = sample.rawValue as String, ofRun] in
                let sample = try #require(Sample(rawValue: name))
                try #require(kernel_make_network() == 0)
                try #require(system("ip link set lo up") == 0)
                let programs = try ProgramSet(for: KernelVersion(6, 18), .bytesPerSecond(1000))
                let queue = try QueueProgram(sharing: programs.memory.maps, for: .link)
                let port = try QueueProgramTests.open(sample, inRunOf: programs, if: ofRun)
                let calls = Calls(program: queue.descriptor, sample.packet(to: port))
                #expect(try calls.action(1) == QueueProgramTests.pass)
                // An index that nothing has: BPF_PROG_TEST_RUN only asks for what would be done.
                programs.memory.useQueues(.down, true)
                #expect(try calls.action(1) == (ofRun ? QueueProgramTests.redirect : QueueProgramTests.pass))
                #expect(try Calls(program: queue.descriptor, sample.packet(to: port + 1)).action(1) == -1)
                // Nothing waits for an upload's ACKs, and too large a datagram for any room in the queue.
                let bare = try Calls(program: queue.descriptor, sample.packet(to: port, [])).action(1)
                #expect(bare == (ofRun && !sample.isTCP ? QueueProgramTests.redirect : QueueProgramTests.pass))
                programs.memory.useQueues(.down, true, largest: 16)
                #expect(
                    try calls.action(1)
                        == (ofRun && sample.isTCP ? QueueProgramTests.redirect : QueueProgramTests.pass))
                programs.memory.useQueues(.down, false)
                #expect(try calls.action(1) == QueueProgramTests.pass)
            }
        }

        @Test(arguments: [Sample.udp4, .udp6, .tcp4, .tcp6])
        func `what comes from an exempt peer doesn't go through the queue`(sample: Sample) async {
            await #expect(processExitsWith: .success) { [name = sample.rawValue as String] in
                let sample = try #require(Sample(rawValue: name))
                try #require(kernel_make_network() == 0)
                try #require(system("ip link set lo up") == 0)
                let rates = Rates(down: .bytesPerSecond(1000), up: .bytesPerSecond(1000))
                let limits = Limits(rates, burst: try TimeSpan("200ms"), counting: .payload)
                let exempt = Scope(except: [try Prefix("127.0.0.2"), try Prefix("::2")])
                let programs = try ProgramSet(for: KernelVersion(6, 18), limits, scope: exempt)
                let queue = try QueueProgram(sharing: programs.memory.maps, for: .link)
                let port = try QueueProgramTests.open(sample, inRunOf: programs)
                programs.memory.useQueues(.down, true)
                for (host, action) in [(1, QueueProgramTests.redirect), (2, QueueProgramTests.pass)]
                    as [(UInt8, CInt)]
                {
                    let calls = Calls(program: queue.descriptor, sample.packet(to: port, from: host))
                    #expect(try calls.action(1) == action)
                }
            }
        }
    }
}

/// A socket on loopback and a packet for it.
enum Sample: String, CaseIterable {
    case udp4, udp6, tcp4, tcp6

    private var isIPv6: Bool { rawValue.hasSuffix("6") }
    var isTCP: Bool { rawValue.hasPrefix("tcp") }

    /// Opens the socket, for good, and sends it a packet, by which the run's programs know its port. Returns the port.
    func open() throws -> UInt16 {
        let type = isTCP ? SOCK_STREAM : SOCK_DGRAM
        let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, CInt(type.rawValue), 0)
        var address = sockaddr_storage()
        address.ss_family = sa_family_t(isIPv6 ? AF_INET6 : AF_INET)
        var length = socklen_t(isIPv6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic -> UInt16? in
                guard bind(descriptor, generic, length) == 0, !isTCP || listen(descriptor, 1) == 0,
                    getsockname(descriptor, generic, &length) == 0
                else { return nil }
                let peer = socket(CInt(generic.pointee.sa_family), CInt(type.rawValue), 0)
                guard connect(peer, generic, length) == 0, send(peer, "x", 1, 0) == 1 else { return nil }
                // At the same place in both kinds of addresses.
                return UnsafeRawPointer(generic).load(fromByteOffset: 2, as: UInt16.self).bigEndian
            }
        }
        guard let port else { throw SystemError("open", rawValue) }
        return port
    }

    /// A packet from port 8080 of the address, or one that ends with another number, to that one.
    func packet(to port: UInt16, _ data: [UInt8] = [1, 2, 3], from host: UInt8 = 1) -> PacketCase {
        let ports = [0x1f, 0x90, UInt8(port >> 8), UInt8(port & 0xff)]
        let segment = isTCP ? Header.tcp(flags: 0x10, data) : Header.udp(data)
        let transport = ports + segment.dropFirst(4)
        let loopback: [UInt8] = isIPv6 ? [UInt8](repeating: 0, count: 15) + [1] : [127, 0, 0, 1]
        var bytes = isIPv6 ? Header.ipv6(isTCP ? 6 : 17, transport) : Header.ipv4(isTCP ? 6 : 17, transport)
        let addresses = isIPv6 ? 8 : 12
        bytes.replaceSubrange(addresses..<addresses + 2 * loopback.count, with: loopback.dropLast() + [host] + loopback)
        return PacketCase(rawValue, bytes, payload: 0)
    }
}
