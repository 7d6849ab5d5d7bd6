import Glibc
import Kernel
import Testing

@testable import Groups

@Suite struct GroupTableTests {
    @Test func `all that map the memory see what each wants`() throws {
        let one = try GroupTable()
        let other = try GroupTable(sharing: one.descriptor.copy())
        let (first, second) = (one.sit(1) ?? -1, other.sit(2) ?? -1)
        let all = one.demands(besides: first).map(\.down)
        #expect(first == 0 && second == 1 && all == [Demand.all])
        let isOwner = other.say(10, 20, at: second, 2)
        let seen = one.demands(besides: first)
        #expect(isOwner && seen.map(\.down) == [10] && seen.map(\.up) == [20])
        other.leave(second, 2)
        let rest = one.demands(besides: first)
        #expect(rest.isEmpty)
    }

    @Test func `a seat whose owner is silent is free for others, and lost for the owner`() throws {
        let table = try GroupTable()
        let seat = table.sit(1) ?? -1
        table.silence(seat)
        let silent = table.demands(besides: -1).count
        let speaks = table.say(1, 1, at: seat, 1)
        let heard = table.demands(besides: -1).count
        #expect(silent == 0 && speaks && heard == 1)
        table.silence(seat)
        let heir = table.sit(2)
        let isOwner = table.say(1, 1, at: seat, 1)
        #expect(heir == seat && !isOwner)
        // Nor can the dead owner's end take it away.
        table.leave(seat, 1)
        let left = table.demands(besides: -1).count
        #expect(left == 1)
    }

    /// It would kill all that have it mapped.
    @Test func `nobody cuts the memory, and such as could be cut is refused`() throws {
        let table = try GroupTable()
        let isCut = ftruncate(table.descriptor.rawValue, 0) == 0
        #expect(!isCut)
        var path = Array("/dev/shm/throttle-XXXXXX".utf8CString)
        let other = Descriptor(owning: mkstemp(&path))
        unlink(path)
        #expect(ftruncate(other.rawValue, off_t(GroupTable.size)) == 0)
        #expect(throws: SystemError.self) { _ = try GroupTable(sharing: other.copy()) }
    }

    @Test func `a full table says so`() throws {
        let table = try GroupTable()
        let seats = (1...GroupTable.seats).map { table.sit(UInt64($0)) }
        let more = table.sit(9999)
        #expect(seats == (0..<GroupTable.seats).map { $0 } && more == nil)
        table.leave(17, 18)
        let free = table.sit(9999)
        #expect(free == 17)
    }

    @Test func `memory of another size is refused`() throws {
        let descriptor = try Descriptor(opening: "/dev/null", O_RDWR)
        #expect(throws: SystemError.self) { _ = try GroupTable(sharing: descriptor.copy()) }
    }
}
