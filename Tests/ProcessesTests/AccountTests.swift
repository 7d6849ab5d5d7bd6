import Glibc
import Testing

@testable import Processes

@Suite struct AccountTests {
    private static let passwd = """
        # comment:x:9:9::/:/
        root:x:0:0:root:/root:/bin/bash
        +::::::
        -nobody:x:10:10::/:/
        short:x:11:11
        long:x:12:12::/:/bin/sh:/bin/sh
        unchanged:x:4294967295:13::/:/
        alice:x:4001:4001:Alice, A.:/home/alice:/bin/zsh
        alice:x:0:0::/root:/bin/sh
        bare:x:4002:4002:::
        e\u{301}:x:4003:4003::/:/
        5000:x:4004:4004::/:/
        other:x:5000:5000::/:/

        """
    private static let group = """
        alice:x:4001:
        video:x:44:bob,alice,carol
        twice:x:45:alice,alice
        same:x:44:alice
        others:x:46:alicex,xalice,Alice
        +:x:47:alice
        unchanged:x:4294967295:alice
        short:x:48

        """

    private func account(_ text: String) throws -> Account {
        try Account(text, passwd: Array(AccountTests.passwd.utf8), group: Array(AccountTests.group.utf8))
    }

    @Test(arguments: ["alice", "4001", "04001"])
    func `a user is found by name and by UID, with all groups`(text: String) throws {
        let alice = try account(text)
        #expect(alice.uid == 4001 && alice.gid == 4001)
        #expect(alice.groups == [4001, 44, 45])
        #expect(String(decoding: alice.name, as: UTF8.self) == "alice")
        #expect(String(decoding: alice.home, as: UTF8.self) == "/home/alice")
        #expect(String(decoding: alice.shell, as: UTF8.self) == "/bin/zsh")
    }

    @Test func `what an entry leaves empty has the usual default`() throws {
        let bare = try account("bare")
        #expect(String(decoding: bare.home, as: UTF8.self) == "/")
        #expect(String(decoding: bare.shell, as: UTF8.self) == "/bin/sh")
        #expect(bare.groups == [4002])
    }

    @Test func `a name of digits goes before a UID`() throws {
        #expect(try account("5000").uid == 4004)
        #expect(try account("05000").uid == 5000)
    }

    @Test(arguments: [
        "", "root\n", "\nroot", "root:x", "root ", "Root", "roo", "+", "-nobody", "nobody", "#", "# comment", "comment",
        "short", "long", "unchanged", "4294967295", "4294967296", "18446744073709551616", "-1", "+0", "0x0", "٠", "é",
        "root\0", "9", "10", "11", "13", "nobody:",
    ])
    func `whoever has no entry is refused in one line`(text: String) {
        let error = #expect(throws: AccountError.self) { try account(text) }
        #expect(error?.description.contains("\n") == false)
        #expect(error?.description.contains("UID:GID") == true)
    }

    @Test func `UID and GID need no entry`() throws {
        let account = try Account("4000000000:4294967294")
        #expect(account.uid == 4_000_000_000 && account.gid == .max - 1 && account.groups == [.max - 1])
        #expect(String(decoding: account.name, as: UTF8.self) == "4000000000")
        #expect(String(decoding: account.home, as: UTF8.self) == "/")
        #expect(String(decoding: account.shell, as: UTF8.self) == "/bin/sh")
    }

    @Test(arguments: ["1:", ":1", ":", "1:2:3", "-1:1", "1:-1", "1:+1", "4294967295:1", "1:4294967295", "root:root"])
    func `anything but two numbers is no UID and GID`(text: String) {
        #expect(throws: AccountError.self) { try Account(text) }
    }

    @Test func `every user of this machine is who the C library says`() throws {
        setpwent()
        while let entry = getpwent() {
            let name = String(cString: entry.pointee.pw_name)
            let (uid, gid) = (entry.pointee.pw_uid, entry.pointee.pw_gid)
            let account = try Account(name)
            #expect(account.uid == uid && account.gid == gid)
            var groups = [gid_t](repeating: 0, count: 1000)
            var count = CInt(groups.count)
            getgrouplist(name, gid, &groups, &count)
            #expect(account.groups == Set(groups.prefix(Int(count))))
        }
        endpwent()
    }
}
