import CPrograms
import Glibc
import TestSupport
import Testing

/// Takes a packet of `length` bytes apart, of which only `bytes` can be read.
private func split(_ bytes: [UInt8], length: UInt32) -> packet {
    bytes.withUnsafeBufferPointer { split($0, length: length) }
}

private func split(_ bytes: UnsafeBufferPointer<UInt8>, length: UInt32) -> packet {
    var result = packet()
    guard let start = bytes.baseAddress else { return packet(payload: length, headers: 0, bare_tcp: false) }
    let end = start + bytes.count
    packet_split(&result, start, end, length, packet_transport(start, end))
    return result
}

@Suite struct PacketTests {
    @Test(arguments: PacketCase.wellFormed + PacketCase.malformed)
    func `a packet is taken apart`(sample: PacketCase) {
        let result = split(sample.bytes, length: sample.length)
        #expect(result.payload == sample.payload)
        #expect(result.headers == sample.headers)
        #expect(result.bare_tcp == sample.isBareTCP)
    }

    @Test(arguments: PacketCase.wellFormed + PacketCase.malformed)
    func `a packet cut short at any length is worth all of its bytes`(sample: PacketCase) {
        for count in 1..<sample.bytes.count {
            let result = split(Array(sample.bytes.prefix(count)), length: UInt32(count))
            #expect(result.payload <= count && result.headers <= count)
            #expect(result.headers == 0 ? result.payload == count : result.payload + result.headers == UInt32(count))
        }
    }

    @Test(arguments: PacketCase.wellFormed)
    func `what can't be read is payload`(sample: PacketCase) {
        for count in 1..<sample.bytes.count {
            let result = split(Array(sample.bytes.prefix(count)), length: sample.length)
            let isWhole = result.headers == sample.headers && result.payload == sample.payload
            let isAllPayload = result.headers == 0 && result.payload == sample.length
            #expect(isWhole || isAllPayload, "\(count) bytes")
            #expect(!result.bare_tcp || isWhole && sample.isBareTCP)
        }
    }

    @Test(arguments: [65_536, 131_072, 524_287 as UInt32])
    func `BIG TCP is as long as its buffer, whatever its header says`(length: UInt32) {
        let header = Header.ipv6(6, Header.tcp(options: 12))
        let result = split(header, length: length)
        #expect(result.headers == 72)
        #expect(result.payload == length - 72)
        #expect(!result.bare_tcp)
    }

    @Test func `an extension too long to be looked through makes nothing free`() {
        for words in 249...256 {
            let bytes = Header.ipv6(60, Header.extension(next: 6, words: words, Header.tcp(Header.data(100))))
            let result = split(bytes, length: UInt32(bytes.count))
            #expect(result.payload >= 100 && result.payload <= bytes.count)
            #expect(!result.bare_tcp)
        }
    }

    @Test(
        arguments: [
            (1448, 52, 0, 0, 1514), (1448, 52, 1, 0, 1514), (0, 40, 0, 0, 54), (14_480, 52, 10, 1448, 15_140),
            (14_481, 52, 11, 1448, 15_207), (14_480, 52, 0, 1448, 15_140), (14_481, 52, 0, 1448, 15_207),
            (0, 40, 0, 1448, 54), (524_215, 72, 368, 1428, 555_863), (60, 0, 0, 0, 74),
        ] as [(UInt32, UInt32, UInt32, UInt32, UInt32)])
    func `each segment has its own headers on the wire`(
        payload: UInt32, headers: UInt32, segments: UInt32, size: UInt32, wire: UInt32
    ) {
        let whole = packet(payload: payload, headers: headers, bare_tcp: false)
        #expect(withUnsafePointer(to: whole) { packet_wire_bytes($0, segments, size) } == wire)
    }

    @Test func `random bytes are never read beyond their ends, nor worth more than their length`() async {
        await #expect(processExitsWith: .success) {
            var random = SeededGenerator(seed: 20)
            let page = Int(sysconf(CInt(_SC_PAGESIZE)))
            let memory = try #require(
                mmap(nil, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
            #expect(mprotect(memory, page, PROT_NONE) == 0)
            #expect(mprotect(memory + 2 * page, page, PROT_NONE) == 0)
            let start = (memory + page).assumingMemoryBound(to: UInt8.self)
            let likely: [UInt8] = [0, 1, 6, 17, 43, 44, 50, 58, 60]
            for round in 0..<150_000 {
                let count = Int(random.next() % 160)
                // The end at the page behind, or the start at the page before.
                let bytes = UnsafeMutableBufferPointer(
                    start: round % 2 == 0 ? start + page - count : start, count: count)
                for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
                if count > 41 {
                    bytes[0] = [0x45, 0x4f, 0x60, bytes[0]][round / 2 % 4]
                    for index in [6, 9, 40] { bytes[index] = likely[Int(random.next() % 9)] }
                    if round % 3 == 0 { bytes[41] %= 16 }
                }
                let length = UInt32(count) + (round % 5 == 0 ? UInt32(random.magnitude(bits: 19)) : 0)
                let result = split(UnsafeBufferPointer(bytes), length: length)
                let isSound =
                    result.payload + result.headers == length || result.headers == 0 && result.payload == length
                if !isSound || result.bare_tcp && result.payload != 0 {
                    Issue.record("\(Array(bytes)) of \(length): \(result)")
                }
            }
        }
    }
}
