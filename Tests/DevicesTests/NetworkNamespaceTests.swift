import CKernel
import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@testable import Devices

@Suite struct NetworkNamespaceTests {
    @Test func `what is made in a namespace is there, wherever the thread is`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let first = try NetworkNamespace.current()
            try enterNamespace()
            let second = Host.networkNamespace
            do {
                let queue = try Queue(named: "q", in: first, alias: "", rate: 1000, log: .silent)
                #expect(try first.routeSocket().devices().map(\.name) == ["lo", "q"])
                #expect(try devices().map(\.name) == ["lo"])
                #expect(QueueClaim.isTaken("q", in: first))
                #expect(QueueClaim.holders(of: "q", in: first).map(\.process) == [getpid()])
                #expect(try !QueueClaim.isTaken("q", in: .current()))
                #expect(try QueueClaim.holders(of: "q", in: .current()).isEmpty)
                #expect(queue.device > 1)
            }
            #expect(try first.routeSocket().devices().map(\.name) == ["lo"])
            #expect(Host.networkNamespace == second)
        }
    }

    @Test func `a watch sees its own namespace`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let first = try NetworkNamespace.current()
            try enterNamespace()
            let watch = try DeviceWatch(in: first)
            try shell("ip link add b0 type bridge && ip link delete b0")
            var gone = watch.drain()
            #expect(gone == [])
            _ = try first.inside { try? shell("ip link add b0 type bridge && ip link delete b0") }
            gone = watch.drain()
            #expect(gone?.count == 1)
        }
    }

    @Test func `another namespace takes CAP_SYS_ADMIN, one's own doesn't`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let first = try NetworkNamespace.current()
            try enterNamespace()
            let second = try NetworkNamespace.current()
            #expect(kernel_use_capabilities(1 << Capability.netAdmin.rawValue) == 0)
            #expect(try second.routeSocket().devices().map(\.name) == ["lo"])
            let error = #expect(throws: SystemError.self) { _ = try first.routeSocket() }
            #expect(error?.description == "can't enter a network namespace: Operation not permitted")
        }
    }
}
