import CPrograms
import TestSupport
import Testing

/// A bucket of bpf/bucket.h with a clock that the test turns.
final class Bucket {
    let limit: throttle_limit
    private(set) var due: UInt64 = 0

    init(rate: UInt64, burst: UInt64) {
        limit = bucket_limit(rate, burst, false)
    }

    func cost(of bytes: UInt32) -> UInt64 {
        withUnsafePointer(to: limit) { bucket_cost($0, bytes) }
    }

    func admits(_ bytes: UInt32, at now: UInt64) -> Bool {
        bucket_admit(&due, now, cost(of: bytes), limit.burst_ns)
    }
}

/// Rates of every magnitude, and of those the ones whose fixed-point cost is the largest for its shift.
let rates: [UInt64] = {
    var random = SeededGenerator(seed: 10)
    let largest = (12...62).map { shift in UInt64((UInt128(1_000_000_000) << shift) / ((1 << 42) - 1)) + 1 }
    let named: [UInt64] = [1, 2, 1000, 50_000, 1_000_000, 1_000_000_000, 100_000_000_000, UInt64(Int64.max)]
    return named + largest + (0..<60).map { _ in random.magnitude(bits: 63) }
}()

@Suite struct BucketTests {
    private let millisecond: UInt64 = 1_000_000
    private let second: UInt64 = 1_000_000_000
    private let largestPacket: UInt32 = 524_287 + 134

    @Test(arguments: rates)
    func `a packet costs its time at the limit, rounded up`(rate: UInt64) {
        var random = SeededGenerator(seed: rate)
        let bucket = Bucket(rate: rate, burst: 0)
        let sizes = (0..<50).map { _ in UInt32(random.magnitude(bits: 21)) }
        for bytes in [1, 1448, 65_535, largestPacket, 1 << 21] + sizes {
            let exact = (UInt128(bytes) * 1_000_000_000 + UInt128(rate) - 1) / UInt128(rate)
            let cost = UInt128(bucket.cost(of: bytes))
            #expect((exact...exact + exact / 500_000_000 + 1).contains(cost), "\(bytes) bytes at \(rate) B/s")
        }
    }

    @Test func `no packet below 4 MB overflows its cost`() {
        let bytes: UInt32 = (1 << 22) - 1
        let overflowing = rates.filter { rate in
            let cost = UInt128(Bucket(rate: rate, burst: 0).cost(of: bytes))
            return cost * UInt128(rate) < UInt128(bytes) * 1_000_000_000
        }
        #expect(overflowing.isEmpty)
    }

    @Test(arguments: rates)
    func `any window passes at most its time and the burst at the limit, and one packet`(rate: UInt64) {
        var random = SeededGenerator(seed: rate + 1)
        for _ in 0..<4 {
            let burst = min(random.magnitude(bits: 36), 60 * second) | millisecond
            let bucket = Bucket(rate: rate, burst: burst)
            var now = random.magnitude(bits: 58)
            var passed: Int128 = 0
            // Bytes passed minus those that the limit allowed, in billionths: the least before any packet.
            var least: Int128?
            for _ in 0..<250 {
                let bytes = random.next() % 4 == 0 ? largestPacket : UInt32(random.magnitude(bits: 19))
                let cost = bucket.cost(of: bytes)
                if bucket.admits(bytes, at: now) {
                    let ahead = passed * Int128(second) - Int128(rate) * Int128(now)
                    least = min(least ?? ahead, ahead)
                    #expect(ahead - (least ?? 0) <= Int128(rate) * Int128(burst))
                    passed += Int128(bytes)
                }
                let scales: [UInt64] = [0, 1, cost, 2 * cost, burst, 120 * second]
                let scale = scales.randomElement(using: &random) ?? 0
                now += UInt64.random(in: 0...min(scale, 1 << 50), using: &random)
            }
        }
    }

    @Test(arguments: rates)
    func `a packet of any size passes once the debt before it is paid`(rate: UInt64) {
        var random = SeededGenerator(seed: rate + 2)
        let burst = random.magnitude(bits: 32) + millisecond
        let bucket = Bucket(rate: rate, burst: burst)
        var now = random.magnitude(bits: 58)
        for _ in 0..<100 {
            let bytes = random.next() % 4 == 0 ? largestPacket : UInt32(random.magnitude(bits: 19))
            if !bucket.admits(bytes, at: now) {
                #expect(bucket.due - now <= burst + bucket.cost(of: largestPacket))
                let early = bucket.due - burst - 1
                #expect(!bucket.admits(bytes, at: early))
                now = early + 1
                #expect(bucket.admits(bytes, at: now))
            }
        }
    }

    @Test func `large packets at a kilobyte per second keep to the limit`() {
        let bucket = Bucket(rate: 1000, burst: 200 * millisecond)
        let seconds: UInt64 = 2000
        let passed = stride(from: second, to: (seconds + 1) * second, by: 10_000_000).reduce(0) { passed, now in
            passed + (bucket.admits(1448, at: UInt64(now)) ? 1448 : 0)
        }
        #expect(abs(Double(passed) / Double(seconds * 1000) - 1) < 0.01)
    }

    @Test(arguments: [1, 999, 50_000, 1_234_567, 10_000_000, 1_000_000_000], [64, 1448, 65_160, 524_287] as [UInt32])
    func `traffic that is always waiting gets the limit exactly`(rate: UInt64, bytes: UInt32) {
        let bucket = Bucket(rate: rate, burst: 200 * millisecond)
        // A cost of fewer nanoseconds can't be held more exactly.
        let cost = bucket.cost(of: bytes)
        guard cost >= 200 else { return }
        let start = 7 * second
        var passed: UInt64 = 0
        var now = start
        while bucket.admits(bytes, at: now) { passed += UInt64(bytes) }
        for _ in 0..<20_000 {
            now += max(1, cost / 16)
            if bucket.admits(bytes, at: now) { passed += UInt64(bytes) }
        }
        let allowed = Double(rate) * Double(now - start + bucket.limit.burst_ns) / 1e9
        #expect(abs(Double(passed) - allowed) <= 0.005 * allowed + Double(bytes))
    }

    @Test(arguments: [10_000_000_000, 100_000_000_000, 1 << 50, UInt64(Int64.max)])
    func `a rate of gigabytes is off by at most a nanosecond per packet`(rate: UInt64) {
        let bucket = Bucket(rate: rate, burst: millisecond)
        var now = second
        _ = bucket.admits(1, at: now)
        for bytes in [64, 1448, 65_160, largestPacket] {
            let before = bucket.due
            for _ in 0..<1000 {
                now = bucket.due
                #expect(bucket.admits(bytes, at: now))
            }
            let ideal = Double(bytes) * 1000 * 1e9 / Double(rate)
            #expect((ideal * 0.999_999...ideal + 1000).contains(Double(bucket.due - before)))
        }
    }

    @Test(arguments: [1000, 50_000, 1_000_000, 1_000_000_000] as [UInt64])
    func `idle time earns the burst and no more`(rate: UInt64) {
        for idle in [0, 1, 200 * millisecond, second, 3600 * second, 365 * 86_400 * second] {
            let bucket = Bucket(rate: rate, burst: 200 * millisecond)
            var now = 1_000_000 * second
            while bucket.admits(100, at: now) {}
            now += second + idle
            var passed: UInt64 = 0
            while bucket.admits(100, at: now) { passed += 100 }
            let burst = rate / 5
            #expect((burst...burst + 100).contains(passed), "after \(idle) ns")
        }
    }

    @Test func `a packet of half a megabyte passes at a byte per second`() {
        let bucket = Bucket(rate: 1, burst: millisecond)
        #expect(bucket.admits(largestPacket, at: second))
        #expect(!bucket.admits(1, at: second))
        let paid = second + UInt64(largestPacket) * second
        #expect(!bucket.admits(1, at: paid - 2 * millisecond))
        #expect(bucket.admits(1, at: paid))
    }

    @Test func `no rate means no limit`() {
        #expect(Bucket(rate: 0, burst: second).limit.mult == 0)
        for rate in rates { #expect(Bucket(rate: rate, burst: second).limit.mult > 0) }
    }
}
