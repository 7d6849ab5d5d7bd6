import Programs
import Testing
import Units

@testable import throttle

@Suite struct ScopeOptionTests {
    private func scope(_ words: String...) throws -> Scope {
        try parse(["-d", "50k"] + words + ["true"]).peers.value
    }

    @Test func `all peers are limited unless something is said`() throws {
        #expect(try scope() == .all)
        #expect(try scope("--scope", "all") == .all)
        #expect(try scope("--scope=internet") == Scope(.internet))
        #expect(try scope("--scope", "internet", "--scope", "local") == Scope(.local))
    }

    @Test func `prefixes add up`() throws {
        let (ten, host, net) = (try Prefix("10.0.0.0/8"), try Prefix("10.1.2.3/32"), try Prefix("2001:db8::/32"))
        #expect(
            try scope("--except", "10.0.0.0/8", "--only=10.1.2.3", "--except=2001:db8::/32")
                == Scope(only: [host], except: [ten, net]))
        #expect(try scope("--only", "10.0.0.0/8", "--only", "10.0.0.0/8") == Scope(only: [ten]))
        #expect(try scope("--scope", "local", "--except", "10.0.0.0/8") == Scope(.local, except: [ten]))
        #expect(try scope("--scope", "local", "--except", "10.0.0.0/8") != Scope(.local))
        // Said of the very prefix, it counts more than the scope.
        #expect(
            try scope("--scope", "internet", "--only", "10.0.0.0/8") != scope("--scope=internet", "--only=10.1.2.3"))
    }

    @Test(arguments: [
        (["--scope", "lan"], "'lan' is invalid for '--scope"), (["--scope", ""], "'' is invalid for '--scope"),
        (["--except", "10.1.2.3/8"], "did you mean 10.0.0.0/8?"), (["--only", "example.org"], "is not an address"),
        (["--only", "-5"], "'-5' is not an address"), (["--except", ""], "'' is not an address"),
        (["--except", "10.0.0.0/33"], "is not a prefix"),
        (["--only", "10.0.0.1", "--except", "::ffff:10.0.0.1"], "10.0.0.1/32 can't be both in --only and in --except"),
    ])
    func `what makes no sense is refused`(words: [String], reason: String) {
        do {
            _ = try parse(["-d", "50k"] + words + ["true"])
            Issue.record("accepted")
        } catch {
            #expect(Throttle.fullMessage(for: error).contains(reason))
        }
    }

    @Test func `there may be 1024 prefixes, and no more`() throws {
        let many = (0..<1024).flatMap { [$0 % 2 == 0 ? "--only" : "--except", "10.0.\($0 / 256).\($0 % 256)"] }
        _ = try parse(["-d", "50k"] + many + ["--only", "10.0.0.0", "true"])
        do {
            _ = try parse(["-d", "50k"] + many + ["--only", "::1", "true"])
            Issue.record("accepted")
        } catch {
            let message = Throttle.fullMessage(for: error)
            #expect(message.contains("--only and --except have 1025 prefixes, and at most 1024 may be given"))
        }
    }
}
