import Testing

@testable import throttle

@Suite struct TableTests {
    private let table = Table(
        columns: [.init(title: "ID"), .init(title: "DOWN", isNumber: true, rank: 1), .init(title: "COMMAND")],
        rows: [["1", "5 B", "wget a b c d e f"], ["22-2", "10.0 kB", "curl"]])

    @Test func `numbers are aligned on the right, words on the left`() {
        #expect(
            table.text(width: nil) == """
                ID       DOWN  COMMAND
                1         5 B  wget a b c d e f
                22-2  10.0 kB  curl
                """)
        #expect(table.text(width: 31) == table.text(width: nil))
    }

    @Test func `what doesn't fit is left out, and the command is cut`() {
        #expect(
            table.text(width: 20) == """
                ID    COMMAND
                1     wget a b c d e
                22-2  curl
                """)
        for width in 0...80 {
            #expect(table.text(width: width).split(separator: "\n").allSatisfy { $0.count <= width })
        }
    }
}
