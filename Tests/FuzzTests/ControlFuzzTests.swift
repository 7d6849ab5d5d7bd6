import CKernel
import Cgroups
import Glibc
import Kernel
import Programs
import TestSupport
import Testing

@testable import Runs

@Suite(.serialized) struct ControlFuzzTests {
    @Test(arguments: Fuzzing.seeds)
    func `any packet is a message`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            try Fuzzing.run(seed: seed, times: 3000) { random in
                let bytes = random.mutated([
                    [], [0], [1, 65], [4] + Array("é\n".utf8), random.bytes(random.below(200)),
                ])
                switch FromGuard(decoding: bytes) {
                case .ready: #expect(bytes.first ?? 0 == 0, "seed \(seed): \(bytes)")
                case .programs: #expect(bytes.first == 255, "seed \(seed): \(bytes)")
                case .log(_, let text): #expect(text.utf8.count <= 3 * bytes.count, "seed \(seed): \(bytes)")
                }
            }
        }
    }

    /// With descriptors of all sorts, the right ones among them.
    @Test(arguments: Fuzzing.seeds)
    func `a guard keeps no descriptor of what it can't take over`(seed: UInt64) async {
        await #expect(processExitsWith: .success) { [seed] in
            let base = try TestCgroup()
            let line = try Line()
            let directory = try base.open()
            var taken = 0
            try Fuzzing.run(seed: seed, times: 300) { random in
                try base.make("throttle-1/run")
                let lock = try base.open("throttle-1")
                let pool = [lock.descriptor.rawValue, lock.descriptor.rawValue, line.ends[0], 0]
                let words = random.words()
                let count = random.below(Int(KERNEL_MAX_FDS) + 1)
                let before = countDescriptors()
                try line.send(words, (0..<count).map { _ in random.pick(pool) })
                if line.inherit(in: directory) { taken += 1 }
                #expect(countDescriptors() == before, "seed \(seed): \(count) descriptors, \(words)")
            }
            #expect(taken > 0)
        }
    }
}

/// Without those of the dispatch library, which opens its own when it likes.
private func countDescriptors() -> Int {
    openDescriptors(below: 64).count { !$0.hasPrefix("anon_inode:[event") && !$0.hasPrefix("anon_inode:[timerfd") }
}

extension SeededGenerator {
    fileprivate mutating func words() -> [UInt8] {
        let right = Corpus.bytes(["\u{1}throttle-1\0\0link", "\u{1}throttle-1\0record\0legacy"])
        switch below(4) {
        case 0: return bytes(below(5000))
        case 1: return pick(right)
        default:
            return mutated(
                right
                    + Corpus.bytes([
                        "", "\0", "\u{1}\0\0", "\u{1}..\0\0link", "\u{1}.\0\0legacy", "\u{1}throttle-2\0\0link",
                    ]))
        }
    }
}

/// A guard's line, and what talks to it.
private final class Line {
    private(set) var ends: [CInt] = [-1, -1]

    init() throws {
        let type = CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw SystemError("open", "a socket pair") }
    }

    deinit {
        ends.forEach { close($0) }
    }

    func send(_ bytes: [UInt8], _ descriptors: [CInt]) throws {
        guard kernel_send_fds(ends[0], bytes, bytes.count, descriptors, CInt(descriptors.count)) == 0 else {
            throw SystemError("send", "\(bytes.count) bytes")
        }
    }

    /// Whether the guard could take over what was sent; it is removed again.
    func inherit(in base: borrowing CgroupDirectory) -> Bool {
        do {
            switch try Channel(descriptor: ends[1]).receive() {
            case .take(let handover): _ = try RunHold(inheriting: handover, .command, base, nil, .silent)
            case .end: return false
            case nil: return false
            }
            return true
        } catch {
            return false
        }
    }
}
