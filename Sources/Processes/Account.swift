import CKernel
import Glibc
import Kernel

/// The user that a command is to run as: its IDs, groups and environment.
package struct Account: Sendable, Equatable {
    let uid: uid_t
    let gid: gid_t
    /// All of them, the primary one included, as initgroups(3) has it.
    let groups: Set<gid_t>
    // Bytes, as these need not be UTF-8.
    let name: [UInt8]
    let home: [UInt8]
    let shell: [UInt8]

    /// The user that `text` names: by name or UID, as in /etc/passwd and /etc/group, or as `UID:GID`. Throws if there is
    /// none, or we may not run a command as that user.
    package init(_ text: String) throws(AccountError) {
        if let account = Account(identifiers: text) {
            self = account
        } else {
            // A static binary has no NSS, so these files are all that getpwnam(3) could read.
            self = try Account(
                text, passwd: Account.content("/etc/passwd"), group: Account.content("/etc/group"))
        }
        let missing = Account.missingCapabilities
        guard missing.isEmpty || isOurs else {
            throw AccountError(
                "can't run the command as another user: missing \(missing.map(\.name).joined(separator: ", "));"
                    + " run as root: sudo throttle run --user …")
        }
    }

    /// The user of that name, else of that UID, in a file as passwd(5) has it, with the groups of one as in group(5).
    init(_ text: String, passwd: [UInt8], group: [UInt8]) throws(AccountError) {
        let entries = Account.lines(passwd).compactMap { Account(passwd: $0) }
        let uid = Account.identifier(text.utf8)
        let entry = entries.first { $0.name.elementsEqual(text.utf8) } ?? entries.first { $0.uid == uid }
        guard let entry else {
            throw AccountError(
                "no user \(String(reflecting: text)) in /etc/passwd: give a name or UID that is there, or UID:GID, or"
                    + " have runuser or setpriv behind -- look the user up elsewhere")
        }
        self = entry.joining(Account.groups(of: entry.name, in: group))
    }

    /// `UID:GID`, who may have no entry anywhere.
    private init?(identifiers text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parts.count == 2, let uid = Account.identifier(parts[0]), let gid = Account.identifier(parts[1])
        else { return nil }
        self.init(uid: uid, gid: gid, name: Array("\(uid)".utf8), home: [], shell: [])
    }

    /// A line of /etc/passwd; nil if it isn't of that form.
    private init?(passwd fields: [ArraySlice<UInt8>]) {
        guard fields.count == 7, !fields[0].isEmpty, let uid = Account.identifier(fields[2]),
            let gid = Account.identifier(fields[3])
        else { return nil }
        self.init(uid: uid, gid: gid, name: Array(fields[0]), home: Array(fields[5]), shell: Array(fields[6]))
    }

    private init(uid: uid_t, gid: gid_t, groups: Set<gid_t> = [], name: [UInt8], home: [UInt8], shell: [UInt8]) {
        self.uid = uid
        self.gid = gid
        self.groups = groups.union([gid])
        self.name = name
        self.home = home.isEmpty ? Array("/".utf8) : home
        self.shell = shell.isEmpty ? Array("/bin/sh".utf8) : shell
    }

    private func joining(_ groups: Set<gid_t>) -> Account {
        Account(uid: uid, gid: gid, groups: groups, name: name, home: home, shell: shell)
    }

    /// What we lack for a command of another user: to start it, and to pass signals on to it.
    private static var missingCapabilities: [Capability] {
        Host.missingCapabilities(of: [.setuid, .setgid, .kill])
    }

    private var isOurs: Bool {
        [getuid(), geteuid()].allSatisfy { $0 == uid } && [getgid(), getegid()].allSatisfy { $0 == gid }
    }

    /// A UID or GID in decimal digits. The greatest number is none: to setresuid(2) it means "as before".
    private static func identifier(_ digits: some Collection<UInt8>) -> UInt32? {
        guard digits.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }),
            let number = UInt32(String(decoding: digits, as: UTF8.self)), number != .max
        else { return nil }
        return number
    }

    private static func groups(of name: [UInt8], in file: [UInt8]) -> Set<gid_t> {
        let theirs = lines(file).filter {
            $0.count == 4 && $0[3].split(separator: UInt8(ascii: ",")).contains { $0.elementsEqual(name) }
        }
        return Set(theirs.compactMap { identifier($0[2]) })
    }

    /// The fields of each line, but for comments and those that stand for other sources (`+`, `-`; nsswitch.conf(5)).
    private static func lines(_ file: [UInt8]) -> some Sequence<[ArraySlice<UInt8>]> {
        file.split(separator: UInt8(ascii: "\n")).lazy
            .filter { !"#+-".utf8.contains($0[$0.startIndex]) }
            .map { $0.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false) }
    }

    private static func content(_ path: String) throws(AccountError) -> [UInt8] {
        do {
            return try Descriptor(opening: path, O_RDONLY).readAll()
        } catch {
            throw AccountError("\(SystemError("read", path, errno: error))")
        }
    }
}

/// Why a command can't run as a user, in words for ours.
package struct AccountError: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) {
        self.description = description
    }
}

extension Account {
    /// Has the command start as this user. What is allocated for it stays, as the environment itself does.
    func apply(to spawn: inout kernel_spawn) {
        spawn.environment = UnsafePointer(environment(from: spawn.environment))
        // A caller without privileges is this user already.
        guard Account.missingCapabilities.isEmpty else { return }
        let list = UnsafeMutableBufferPointer<gid_t>.allocate(capacity: groups.count)
        _ = list.initialize(from: groups)
        spawn.uid = uid
        spawn.gid = gid
        spawn.groups = UnsafePointer(list.baseAddress)
        spawn.group_count = groups.count
    }

    /// `original` with what su(1) sets: HOME, SHELL, USER and LOGNAME.
    private func environment(
        from original: UnsafePointer<UnsafeMutablePointer<CChar>?>
    ) -> UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> {
        let settings = [("HOME=", home), ("SHELL=", shell), ("USER=", name), ("LOGNAME=", name)]
        var strings: [UnsafeMutablePointer<CChar>?] = []
        var next = original
        while let string = next.pointee {
            if !settings.contains(where: { strncmp(string, $0.0, $0.0.utf8.count) == 0 }) { strings.append(string) }
            next += 1
        }
        strings += settings.map { key, value in
            (Array(key.utf8) + value + [0]).map { CChar(bitPattern: $0) }.withUnsafeBufferPointer {
                $0.baseAddress.flatMap { strdup($0) }
            }
        }
        let list = UnsafeMutableBufferPointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
        _ = list.initialize(from: strings + [nil])
        return list.baseAddress.unsafelyUnwrapped
    }
}
