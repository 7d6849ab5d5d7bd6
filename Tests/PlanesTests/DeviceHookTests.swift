import CKernel
import Devices
import Foundation
import Kernel
import Programs
import TestSupport
import Testing
import Units

@testable import Planes

@Suite struct DeviceHookTests {
    /// The other namespace has devices and qdiscs of the same names and indexes.
    @Test(arguments: [false, true])
    func `queue and hook go where they were made, wherever the thread is then`(isFilter: Bool) async {
        await #expect(processExitsWith: .success) { [isFilter] in
            let kernel = try #require(KernelVersion(release: Host.kernelRelease))
            try #require(kernel_make_network() == 0 && kernel_start_loopback() == 0)
            let home = try NetworkNamespace.current()
            let lines = Lines()
            do {
                let queue = try Queue.ofRun("1", in: home, rate: 1000, log: lines.log)
                let maps = try RunMemory(
                    for: kernel, Limits(.unlimited, burst: TimeSpan(nanoseconds: 200_000_000), counting: .payload)
                ).maps
                let program = try QueueProgram(sharing: maps, for: isFilter ? .filter : .link)
                try program.lead(to: queue.device)
                let lo = try home.routeSocket().devices()[0]
                let hook = try DeviceHook(lo, in: home, to: queue.device, program, byLink: !isFilter, lines.log)
                try withExtendedLifetime(hook) {
                    #expect(try home.routeSocket().devices().map(\.name) == ["lo", "thr-1"])
                    try #require(kernel_make_network() == 0)
                    try #require(system("ip link add thr-1 type ifb && tc qdisc add dev lo clsact") == 0)
                    #expect(try NetworkNamespace.current().routeSocket().devices()[1].index == queue.device)
                }
            }
            let here = try NetworkNamespace.current()
            #expect(try home.routeSocket().devices().map(\.name) == ["lo"])
            #expect(try home.routeSocket().devicesWithIngressQdisc().isEmpty)
            #expect(try here.routeSocket().devices().map(\.name) == ["lo", "thr-1"])
            #expect(try here.routeSocket().devicesWithIngressQdisc() == [1])
            #expect(lines.all.allSatisfy { $0.hasPrefix("debug: ") }, "\(lines.all)")
        }
    }
}
