import Cgroups
import Glibc
import Kernel
import TestSupport
import Testing

@testable import Runs

@Suite struct GuardTests {
    /// What arrives at the other end of a channel when `say` is over, message by message.
    private func heard(debugging: Bool = true, _ say: (Channel) -> Void) -> [Message] {
        var ends: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) == 0 else { return [] }
        say(Channel(descriptor: ends[1], isDebugging: debugging))
        close(ends[1])
        defer { close(ends[0]) }
        var messages: [Message] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = recv(ends[0], &buffer, buffer.count, 0), count > 0 {
            messages.append(Message(decoding: buffer.prefix(count)))
        }
        return messages
    }

    @Test(arguments: [Message.Kind.ready, .obstacle, .info, .debug, .warning])
    func `what a guard says arrives as it was said`(kind: Message.Kind) {
        for text in ["", "shape window police", "a\nb\0c", "é日本💥"] {
            let messages = heard { $0.say(kind, text) }
            #expect(messages.map(\.kind) == [kind])
            #expect(messages.map(\.text) == [text])
        }
    }

    @Test func `messages stay apart, and in order`() {
        let messages = heard { channel in
            for number in 0..<10 { channel.say(.info, "\(number)") }
        }
        #expect(messages.map(\.text) == (0..<10).map { "\($0)" })
    }

    @Test func `debug messages are only said where they are heard`() {
        let messages = heard(debugging: false) { channel in
            channel.say(.debug, "detail")
            channel.say(.info, "news")
        }
        #expect(messages.map(\.text) == ["news"])
    }

    @Test func `a message that is too long is cut`() {
        let messages = heard { $0.say(.warning, String(repeating: "x", count: 100_000)) }
        #expect(messages.map(\.kind) == [.warning])
        #expect(messages.map(\.text) == [String(repeating: "x", count: 4000)])
    }

    /// By nobody else can it be: its lock is held until then.
    @Test func `a run that a guard can't take over is swept by it`() async {
        await #expect(processExitsWith: .success) {
            let base = try TestCgroup()
            let directory = try base.open()
            var ends: [CInt] = [-1, -1]
            try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
            let cgroup = try RunCgroup(in: try base.open()) { _, _ in }
            let lock = cgroup.parent.descriptor.rawValue
            try Channel.send([cgroup.parent.name, "", "no method"], [lock, lock, 0], to: ends[0])
            cgroup.leave()
            #expect(throws: SystemError.self) {
                guard let estate = try Channel(descriptor: ends[1], isDebugging: true).receive() else { return }
                _ = try InheritedRun(estate, directory, nil) { _, _ in }
            }
            #expect(directory.sweep().count == 1)
        }
    }

    @Test func `nobody has to listen`() {
        var ends: [CInt] = [-1, -1]
        #expect(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
        let channel = Channel(descriptor: ends[1], isDebugging: true)
        // More than a socket holds: this must not wait.
        for _ in 0..<5000 { channel.say(.info, "news") }
        close(ends[0])
        channel.say(.info, "news")
        close(ends[1])
        #expect(Message(decoding: []).kind == .debug)
        #expect(Message(decoding: [99, 65]).text == "A")
    }
}
