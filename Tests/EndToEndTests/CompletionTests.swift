import Foundation
import Testing

/// The completions of each shell, asked by the shell itself.
@Suite struct CompletionTests {
    let lab: Lab
    /// The name of a run that lives.
    let name: String
    private let run: Child
    private static let folder = "\(packageRoot)/completions"

    init() throws {
        lab = try Lab()
        name = "live-\(getpid())-\(Lab.nextNumber())-run"
        run = try lab.start(throttle("-d", "1M", "--name", name) + ["sleep", "600"])
        let (lab, name) = (lab, name)
        guard poll(until: { (try? lab.require([throttlePath, "list"]).contains(name)) == true }) else {
            throw HarnessError("the run isn't listed: \(run.stderr)")
        }
    }

    private var path: [String] { ["env", "PATH=\(packageRoot)/.build/release:/usr/sbin:/usr/bin:/sbin:/bin"] }

    /// What bash offers for the last of the words behind `throttle`.
    private func bash(_ words: [String]) throws -> Set<Substring> {
        let script = """
            . /usr/share/bash-completion/bash_completion
            . \(CompletionTests.folder)/throttle.bash
            COMP_WORDS=(throttle "$@") COMP_CWORD=$# COMP_LINE="throttle $*"
            COMP_POINT=${#COMP_LINE}
            _throttle
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        return Set(try lab.require(path + ["bash", "--norc", "-c", script, "bash"] + words).split(separator: "\n"))
    }

    private func fish(_ words: [String]) throws -> Set<Substring> {
        let script = "source \(CompletionTests.folder)/throttle.fish; complete -C \"throttle $argv\""
        let lines = try lab.require(path + ["fish", "--no-config", "-c", script, "--"] + words).split(separator: "\n")
        return Set(lines.compactMap { $0.split(separator: "\t").first })
    }

    @Test(arguments: ["bash", "fish"])
    func `live runs are offered by id and name`(_ shell: String) throws {
        let offers = shell == "bash" ? bash : fish
        for words in [["stats"], ["set"]] {
            let all = try offers(words + [""])
            #expect(all.contains("\(run.pid)") && all.contains(name[...]), "\(all)")
            #expect(try offers(words + [String(name.dropLast(2))]).contains(name[...]))
        }
        for words in [[""], ["list", ""], ["cleanup", ""], ["run", "--name", ""]] {
            #expect(try !offers(words).contains(name[...]), "\(words)")
        }
        run.send(SIGTERM)
        _ = try run.wait()
        #expect(try !offers(["stats", ""]).contains(name[...]))
    }

    @Test(arguments: ["bash", "fish"])
    func `groups are offered`(_ shell: String) throws {
        let offers = shell == "bash" ? bash : fish
        let group = "group-of-\(name)"
        try lab.require([throttlePath, "group", "create", group, "--down", "1M"])
        defer { _ = try? lab.run([throttlePath, "group", "delete", group]) }
        for words in [["-g"], ["run", "--group"], ["set", "--group"], ["group", "delete"]] {
            #expect(try offers(words + ["group-of-"]).contains(group[...]), "\(words)")
        }
        #expect(try !offers(["stats", ""]).contains(group[...]))
    }

    @Test(arguments: ["bash", "fish"])
    func `words of each place are offered`(_ shell: String) throws {
        let offers = shell == "bash" ? bash : fish
        #expect(try offers(["se"]).contains("set"))
        #expect(try offers(["run", "--mode", ""]) == ["auto", "shape", "police"])
        #expect(try offers(["set", name, "--"]).isSuperset(of: ["--down", "--up"]))
        #expect(try !offers(["set", name, "--"]).contains("--mode"))
        #expect(try offers(["set", name, "--"]).isSuperset(of: ["--rtt", "--jitter", "--loss"]))
        #expect(try offers(["set", name, "--"]).isSuperset(of: ["--background", "--no-background"]))
        #expect(try offers(["run", "--back"]) == ["--background"])
        #expect(try offers(["profiles", "--"]).contains("--json"))
        #expect(try offers(["run", "--rtt", ""]) == offers(["set", name, "--rtt", ""]))
        #expect(try offers(["--profile", "3g"]) == ["3g", "3gfast", "3gslow"])
        #expect(try offers(["run", "--quota", "1G", "--kill-after", ""]).contains("10s"))
        #expect(try offers(["stats", "--"]).isSuperset(of: ["--watch", "--json"]))
        // The command's own completion goes on.
        try lab.write("", to: "some file")
        #expect(try offers(["-d", "1M", "cat", "som"]).contains { $0.hasPrefix("some") })
    }

    /// zsh completes only where a line is edited; what it completed is run then.
    @Test func `zsh completes a live run`() throws {
        let terminal = try Terminal(lab, path + ["zsh", "-f", "-i"])
        terminal.type("PS1=; fpath=(\(CompletionTests.folder) $fpath); autoload -Uz compinit; compinit -u -D")
        try terminal.type("bindkey '^I' complete-word; echo shell-is-$((40 + 2))", until: "shell-is-42")
        try terminal.type("throttle stats \(name.dropLast(2))\t--json", until: "\"name\":\"\(name)\"")
        try terminal.type("throttle set \(name.dropLast(2))\t--down 3M", until: "(\(name)): down 3.0 MB/s")
        try terminal.type("throttle set \(name.dropLast(2))\t--lo\t1%", until: "up unlimited, loss 1%")
        try terminal.type("throttle set \(name.dropLast(2))\t--no-b\t", until: "up unlimited, loss 1%")
        // A name that is none would be told instead.
        try terminal.type("throttle --profi\tsatel\t--mode police true", until: "--mode police doesn't touch")
        terminal.hangUp()
    }
}
