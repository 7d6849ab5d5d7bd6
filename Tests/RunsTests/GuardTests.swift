import CKernel
import Cgroups
import Glibc
import Kernel
import Logging
import TestSupport
import Testing

@testable import Runs

@Suite struct GuardTests {
    /// What arrives at the other end of a channel when `say` is over, message by message.
    private func heard(_ say: (Channel) -> Void) -> [FromGuard] {
        var ends: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) == 0 else { return [] }
        say(Channel(descriptor: ends[1]))
        close(ends[1])
        defer { close(ends[0]) }
        var messages: [FromGuard] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = recv(ends[0], &buffer, buffer.count, 0), count > 0 {
            messages.append(FromGuard(decoding: buffer.prefix(count)))
        }
        return messages
    }

    @Test func `what a guard says arrives as it was said`() {
        let said = Logger.Level.allCases.flatMap { level in
            ["", "shape window police", "a\nb\0c", "é日本💥"].map { FromGuard.log(level, $0) }
        }
        #expect(heard { channel in (said + [.ready]).forEach(channel.say) } == said + [.ready])
    }

    @Test func `messages stay apart, and in order`() {
        let messages = heard { channel in
            for number in 0..<10 { channel.logger(.info).info("\(number)") }
        }
        #expect(messages == (0..<10).map { .log(.info, "\($0)") })
    }

    @Test func `debug messages are only said where they are heard`() {
        let messages = heard { channel in
            channel.logger(.info).debug("detail")
            channel.logger(.info).info("news")
        }
        #expect(messages == [.log(.info, "news")])
    }

    @Test func `a message that is too long is cut`() {
        let messages = heard { $0.say(.log(.warning, String(repeating: "x", count: 100_000))) }
        #expect(messages == [.log(.warning, String(repeating: "x", count: 4000))])
    }

    /// By nobody else can it be: its lock is held until then.
    @Test func `a run that a guard can't take over is swept by it`() async {
        await #expect(processExitsWith: .success) {
            let base = try TestCgroup()
            let directory = try base.open()
            var ends: [CInt] = [-1, -1]
            try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
            var cgroup = try RunCgroup(in: try base.open(), log: .silent)
            let lock = cgroup.parent.descriptor.rawValue
            let words = [1] + Array("\(cgroup.parent.name)\0\0no method".utf8)
            try #require(kernel_send_fds(ends[0], words, words.count, [lock, lock, 0], 3) == 0)
            cgroup.leave()
            _ = consume cgroup
            #expect(throws: SystemError.self) { _ = try Channel(descriptor: ends[1]).receive() }
            #expect(directory.sweep().count == 1)
        }
    }

    /// Else a guard would take its throttle for killed, and hold what is left of the run.
    @Test func `the end is heard though the other end heard not all`() throws {
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
        let channel = Channel(descriptor: ends[1])
        channel.say(.ready)
        ToGuard.sendEnd(to: ends[0])
        close(ends[0])
        let message = try channel.receive()
        let isEnd = if case .end? = message { true } else { false }
        #expect(isEnd)
        close(ends[1])
    }

    @Test func `nobody has to listen`() {
        var ends: [CInt] = [-1, -1]
        #expect(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
        let channel = Channel(descriptor: ends[1])
        // More than a socket holds: this must not wait.
        for _ in 0..<5000 { channel.say(.log(.info, "news")) }
        close(ends[0])
        channel.say(.log(.info, "news"))
        close(ends[1])
        #expect(FromGuard(decoding: []) == .ready)
        #expect(FromGuard(decoding: [99, 65]) == .log(.debug, "A"))
    }
}
