import Foundation

/// A pseudo terminal with a process that leads its session.
final class Terminal {
    let leader: pid_t
    private var master: CInt
    private var received: [UInt8] = []
    private var hasEnded = false

    /// Starts `words` in `lab` as the leader of a session on a new terminal. The terminal doesn't echo.
    init(_ lab: Lab, _ words: [String]) throws {
        // As openpty(3) does it, which has no header in Swift's Glibc; nor have TIOCSPTLCK and TIOCGPTN.
        master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)
        var lock: CInt = 0
        var number: CInt = 0
        guard master >= 0, ioctl(master, 0x4004_5431, &lock) == 0, ioctl(master, 0x8004_5430, &number) == 0 else {
            throw HarnessError("no pseudo terminal: \(String(cString: strerror(errno)))")
        }
        let path = "/dev/pts/\(number)"
        var settings = termios()
        let slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
        tcgetattr(slave, &settings)
        settings.c_lflag &= ~tcflag_t(ECHO)
        settings.c_oflag &= ~tcflag_t(OPOST)
        tcsetattr(slave, TCSANOW, &settings)
        leader = try spawn(lab.entering(lab.cgroup) + words, ["TERM": "dumb"], terminal: path)
        close(slave)
    }

    /// An interactive shell that has job control.
    static func shell(_ lab: Lab) throws -> Terminal {
        let terminal = try Terminal(lab, ["bash", "--norc", "--noprofile", "--noediting", "-i"])
        terminal.type("PS1= PS2= HISTFILE=")
        try terminal.type("echo shell-is-$((40 + 2))", until: "shell-is-42")
        return terminal
    }

    deinit {
        hangUp()
        if !hasEnded {
            kill(leader, SIGKILL)
            waitpid(leader, nil, 0)
        }
    }

    /// All that was written to the terminal so far.
    var text: String {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(master, &buffer, buffer.count)
            if count <= 0 { return String(decoding: received, as: UTF8.self) }
            received += buffer[..<count]
        }
    }

    /// Types a line.
    func type(_ line: String) {
        press(line + "\n")
    }

    /// Types a line and waits for text that comes after.
    func type(_ line: String, until text: String) throws {
        let before = self.text.count
        type(line)
        try wait(for: text, after: before)
    }

    /// Types keys, such as `Terminal.controlC`.
    func press(_ keys: String) {
        var rest = Array(keys.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(master, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    static let controlC = "\u{3}"
    static let controlBackslash = "\u{1c}"
    static let controlZ = "\u{1a}"

    /// Waits until `text` is on the terminal, behind its first `start` characters.
    func wait(for text: String, after start: Int = 0) throws {
        guard poll(until: { self.text.dropFirst(start).contains(text) }) else {
            throw HarnessError("no '\(text)' on the terminal, but: \(self.text)")
        }
    }

    /// Asks the shell for the status of what it ran last.
    func status() throws -> String {
        let before = text.count
        try type("echo \"status<$?>\"", until: "status<")
        try wait(for: ">", after: before)
        let answer = text.dropFirst(before)
        return String(answer.drop { $0 != "<" }.dropFirst().prefix { $0 != ">" })
    }

    /// Changes the size of the window.
    func resize(rows: UInt16, columns: UInt16) {
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        _ = ioctl(master, UInt(TIOCSWINSZ), &size)
    }

    /// Closes the terminal, as a window does or a lost connection.
    func hangUp() {
        if master >= 0 { close(master) }
        master = -1
    }

    /// Waits for the end of the session's leader.
    func ending() throws -> Ending {
        var status: CInt = 0
        guard poll(until: { waitpid(leader, &status, WNOHANG) == leader }) else {
            throw HarnessError("the session's leader doesn't end")
        }
        hasEnded = true
        return Ending(waitStatus: status)
    }
}
