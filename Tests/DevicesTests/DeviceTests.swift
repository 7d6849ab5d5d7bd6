import Foundation
import Kernel
import SystemPackage
import Testing

@testable import Devices

@Suite struct DeviceTests {
    @Test func `devices are listed with what they are`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            try shell("ip link add near type veth peer name far && ip link set near up && ip link set near alias Ours")
            try shell("ip link add bridge type bridge && ip link set far master bridge")
            let devices = try devices()
            let named = Dictionary(uniqueKeysWithValues: devices.map { ($0.name, $0) })
            #expect(Set(named.keys) == ["lo", "near", "far", "bridge"])
            for line in try json("ip -j link") {
                #expect(named[line["ifname"] as? String ?? ""]?.index == (line["ifindex"] as? NSNumber)?.int32Value)
            }
            let lo = try #require(named["lo"])
            #expect(lo.isLoopback && !lo.isEthernet && lo.isUp && !lo.hasMaster)
            #expect(lo.kind == nil && lo.alias == nil)
            let near = try #require(named["near"])
            #expect(!near.isLoopback && near.isEthernet && near.isUp && !near.hasMaster)
            #expect(near.kind == "veth" && near.alias == "Ours")
            let far = try #require(named["far"])
            #expect(far.isEthernet && !far.isUp && far.hasMaster && far.kind == "veth")
            #expect(named["bridge"]?.kind == "bridge")
            #expect(named["bridge"]?.hasMaster == false)
        }
    }

    @Test func `a watch tells of devices that go, once each time`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let watch = try DeviceWatch(in: .current())
            var gone = watch.drain()
            #expect(gone == [] && !isReadable(watch.descriptor))
            // A device that leaves a bridge stays.
            let stays = ["add b0 type bridge", "add v0 type veth peer v1", "set v0 master b0", "set v0 nomaster"]
            for (change, goes) in stays.map({ ($0, false) }) + [("delete b0", true)] {
                let index = Int32(bitPattern: if_nametoindex("b0"))
                try shell("ip link \(change)")
                #expect(isReadable(watch.descriptor), "\(change)")
                gone = watch.drain()
                #expect(gone == (goes ? [index] : []) && !isReadable(watch.descriptor), "\(change)")
                gone = watch.drain()
                #expect(gone == [], "\(change)")
            }
        }
    }

    @Test func `a watch that lost messages says so`() async {
        await #expect(processExitsWith: .success) {
            try enterNamespace()
            let watch = try DeviceWatch(in: .current())
            var size: CInt = 1
            setsockopt(watch.descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
            try shell("ip link add b0 type bridge; for i in 1 2 3 4; do ip link set b0 up; ip link set b0 down; done")
            let changes = [watch.drain(), watch.drain()]
            #expect(changes == [nil, []])
        }
    }
}

private func isReadable(_ descriptor: CInt) -> Bool {
    var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return Glibc.poll(&poll, 1, 0) == 1
}
