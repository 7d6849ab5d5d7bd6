import Glibc
import Synchronization

/// Runs `body` in `count` threads of their own, which start it together, and waits for their ends. The
/// pool behind `async` may have but one thread left.
func race(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let start = Barrier(count)
    let threads = (0..<count).map { number in
        var thread = pthread_t()
        let work = Unmanaged.passRetained(
            Work {
                start.wait()
                body(number)
            })
        pthread_create(
            &thread, nil,
            { work in
                work.map { Unmanaged<Work>.fromOpaque($0).takeRetainedValue().body() }
                return nil
            }, work.toOpaque())
        return thread
    }
    for thread in threads { pthread_join(thread, nil) }
}

private final class Work {
    let body: () -> Void

    init(_ body: @escaping () -> Void) {
        self.body = body
    }
}

/// Where threads wait for each other, again and again. They leave within nanoseconds if each has a CPU.
final class Barrier: Sendable {
    private let count: Int
    private let arrived = Atomic(0)

    init(_ count: Int) {
        self.count = count
    }

    func wait() {
        let ticket = arrived.add(1, ordering: .sequentiallyConsistent).newValue
        let last = (ticket + count - 1) / count * count
        var turns = 0
        while arrived.load(ordering: .acquiring) < last {
            turns += 1
            if turns > 2000 { sched_yield() }
        }
    }
}
