import Foundation
import Testing

/// `--progress` on a terminal and elsewhere.
@Suite struct ProgressTests {
    let lab: Lab
    let terminal: Terminal
    private let limited = throttle("-u", "500k", "--progress").joined(separator: " ")

    init() throws {
        lab = try Lab()
        terminal = try Terminal.shell(lab)
        terminal.resize(rows: 10, columns: 80)
        terminal.type("stty onlcr opost")
        try terminal.type("export TERM=xterm LC_ALL=C.UTF-8; unset NO_COLOR; echo set-$((40 + 2))", until: "set-42")
    }

    /// The rows of the screen, as they are now.
    private func rows(_ height: Int = 10, _ width: Int = 80) -> [String] {
        var screen = Screen(height, width)
        screen.take(terminal.text)
        return screen.rows
    }

    /// What the terminal was sent from `start` on, when `command` has ended.
    private func run(_ command: String) throws -> (sent: String, rows: [String]) {
        let before = terminal.text.count
        terminal.type("clear; \(command)")
        try terminal.type("echo \"end-$((40 + 2))\"", until: "end-42")
        return (String(terminal.text.dropFirst(before)), rows())
    }

    @Test func `line is drawn below what the command writes and is erased`() throws {
        let script =
            "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; sleep 0.15; done; printf part; sleep 1.2; echo ial"
        terminal.type("clear; \(limited) sh -c '\(script)'")
        #expect(poll { rows()[8] == "part" && rows()[9].hasPrefix("↓ 0 B/s [") })
        let during = rows()
        #expect(Array(during[0..<8]) == (5...12).map { "line \($0)" })
        #expect(during[9].contains("↑ 0.0 of 500.0 kB/s [") && during[9].firstMatch(of: /0:0[0-9]$/) != nil)
        try terminal.type("echo \"end-$((40 + 2))\"", until: "end-42")
        let after = rows()
        #expect(Array(after[0..<8]).contains("partial") && after.contains("end-42"))
        #expect(!after.joined().contains("B/s"))
        // Its last words free the row and clear it.
        #expect(terminal.text.contains("\u{1b}7\u{1b}[r\u{1b}[10;1H\u{1b}[K\u{1b}8"))
    }

    @Test func `rates that pass are drawn`() throws {
        let script = """
            import socket, time
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for i in range(12):
                out.sendto(bytes(20000), ("127.0.0.1", 9))
                time.sleep(0.1)
            """
        try lab.write(script, to: "send.py")
        let sent = try run("ip link set lo up; \(limited) python3 send.py").sent
        let rate = try #require(sent.firstMatch(of: /\x1b\[3[23]m([0-9.]+) of 500.0 kB\/s\x1b\[0m/))
        #expect(100...260 ~= Double(rate.1) ?? 0)
        #expect(sent.contains(/\[ +[▁▂▃▄▅▆▇█]+\] [0-9.]+ kB/))
    }

    @Test func `what runs already is shown, too`() throws {
        let words = throttle("-u", "500k", "--progress", "--for", "1s", "-p").dropLast().joined(separator: " ")
        let (sent, rows) = try run("sleep 60 & \(words) $!; kill $!")
        #expect(sent.contains("of 500.0 kB/s") && sent.contains("\u{1b}[r") && !rows.joined().contains("B/s"))
    }

    @Test func `command that ends at once sees no line`() throws {
        #expect(try !run("\(limited) echo fast").sent.contains("\u{1b}7"))
    }

    @Test func `stopped job frees the row and fg draws again`() throws {
        terminal.type("clear; \(limited) sh -c 'echo ready; exec sleep 60'")
        #expect(poll { rows()[9].contains("B/s") })
        terminal.press(Terminal.controlZ)
        #expect(try terminal.status() == "148")
        #expect(!rows().joined().contains("B/s"))
        let before = terminal.text.count
        terminal.type("fg")
        #expect(poll { terminal.text.dropFirst(before).contains("\u{1b}[1;9r") && rows()[9].contains("B/s") })
        terminal.press(Terminal.controlC)
        #expect(try terminal.status() == "130")
        #expect(!rows().joined().contains("B/s"))
    }

    @Test func `nothing is drawn in the background`() throws {
        let sent = try run("\(limited) sh -c 'sleep 1.3' & wait").sent
        #expect(!sent.contains("\u{1b}7") && !sent.contains("B/s"))
    }

    @Test(arguments: [
        ("LC_ALL=C", false, true), ("LC_ALL=de_DE.ISO-8859-1", false, true), ("LC_ALL= LANG=de_DE.utf8", true, true),
        ("NO_COLOR=1", true, false), ("NO_COLOR=", true, true),
    ])
    func `environment says what the terminal can`(_ setting: String, _ isUnicode: Bool, _ hasColor: Bool) throws {
        let sent = try run("\(setting) \(limited) sleep 0.8").sent
        #expect(sent.contains(isUnicode ? "↓ " : "down ") && sent.contains("of 500.0 kB/s"))
        #expect(sent.contains("\u{1b}[32m") == hasColor && sent.unicodeScalars.allSatisfy(\.isASCII) == !isUnicode)
    }

    @Test(arguments: [3, 8, 20, 40, 60, 79, 120] as [UInt16])
    func `line is never wider than the window`(_ columns: UInt16) throws {
        terminal.resize(rows: 10, columns: columns)
        let sent = try run("\(limited) sleep 0.8").sent
        let drawn = try #require(sent.firstMatch(of: /\x1b\[10;1H\x1b\[m(.*?)\x1b\[K/)?.1)
        #expect(drawn.replacing(/\x1b\[[0-9]*m/, with: "").count < Int(columns))
    }

    @Test func `new size moves the line`() throws {
        terminal.type("clear; \(limited) sh -c 'echo ready; read x; echo done'")
        #expect(poll { rows()[9].contains("B/s") })
        terminal.resize(rows: 14, columns: 60)
        try terminal.wait(for: "\u{1b}[1;13r")
        try terminal.type("", until: "done")
        #expect(try terminal.status() == "0")
        #expect(terminal.text.contains("\u{1b}[r\u{1b}[14;1H\u{1b}[K\u{1b}8"))
    }

    @Test(arguments: ["TERM=dumb \(throttlePath)", "2>log \(throttlePath)"])
    func `elsewhere there are lines`(_ start: String) throws {
        let command = limited.replacing(throttlePath, with: start)
        let sent = try run("\(command) sleep 5.6; test -f log && cat log").sent
        #expect(
            sent.contains("throttle: 0:05: download 0 B/s, 0 B in all; upload 0.0 of 500.0 kB/s, 0 B in all"))
        #expect(!sent.contains("\u{1b}7"))
    }
}

/// As much of a terminal's screen as is needed to see what is left on it.
private struct Screen {
    private var cells: [[Character]]
    private let width: Int
    private var row = 0
    private var column = 0
    private var saved = (row: 0, column: 0)
    private var bottom: Int

    init(_ height: Int, _ width: Int) {
        cells = Array(repeating: Array(repeating: " ", count: width), count: height)
        self.width = width
        bottom = height - 1
    }

    /// Without the spaces behind.
    var rows: [String] {
        cells.map { String($0).replacing(#/ +$/#, with: "") }
    }

    mutating func take(_ text: String) {
        // Not as a string, in which a carriage return and a newline are one character.
        var rest = text.unicodeScalars.map(Character.init)[...]
        while let next = rest.popFirst() {
            switch next {
            case "\u{1b}": takeEscape(&rest)
            case "\r": column = 0
            case "\n": goDown()
            case _ where next.unicodeScalars.first.map { $0.value < 32 } ?? false: break
            default: put(next)
            }
        }
    }

    private mutating func put(_ character: Character) {
        if column == width {
            column = 0
            goDown()
        }
        cells[row][column] = character
        column += 1
    }

    private mutating func goDown() {
        if row == bottom {
            cells.remove(at: 0)
            cells.insert(Array(repeating: " ", count: width), at: bottom)
        } else {
            row = min(row + 1, cells.count - 1)
        }
    }

    private mutating func takeEscape(_ rest: inout ArraySlice<Character>) {
        switch rest.popFirst() {
        case "7": saved = (row, column)
        case "8": (row, column) = saved
        case "D": goDown()
        case "[":
            let words = rest.prefix { !$0.isLetter }
            rest = rest.dropFirst(words.count)
            let numbers = String(words).split(separator: ";").compactMap { Int($0) }
            control(rest.popFirst(), numbers)
        default: break
        }
    }

    private mutating func control(_ name: Character?, _ numbers: [Int]) {
        switch name {
        case "A": row = max(row - (numbers.first ?? 1), 0)
        case "H": (row, column) = ((numbers.first ?? 1) - 1, (numbers.dropFirst().first ?? 1) - 1)
        case "K": cells[row].replaceSubrange(column..., with: repeatElement(" ", count: width - column))
        case "J":
            control("K", [])
            let first = numbers.first == 2 ? 0 : row + 1
            for row in first..<cells.count { cells[row] = Array(repeating: " ", count: width) }
        case "r":
            bottom = (numbers.dropFirst().first ?? cells.count) - 1
            (row, column) = (0, 0)
        default: break
        }
    }
}
