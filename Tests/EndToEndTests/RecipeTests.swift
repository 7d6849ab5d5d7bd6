import Foundation
import Testing

/// The examples of README.md and docs/recipes.md, run as they stand there.
@Suite struct RecipeTests {
    /// A fenced block that has the word `test` and a name behind its language.
    struct Block {
        let language: String
        let name: String
        let text: String

        /// Those of all documents.
        static func all() throws -> [Block] {
            try ["README.md", "docs/recipes.md"].flatMap { file in
                let text = try String(contentsOfFile: "\(packageRoot)/\(file)", encoding: .utf8)
                let fence = #/(?ms)^```([a-z]+) test ([a-z-]+)$\n(.*?)^```$/#
                return text.matches(of: fence).map {
                    Block(language: String($0.1), name: String($0.2), text: String($0.3))
                }
            }
        }
    }

    /// What a block promises.
    struct Recipe: CustomTestStringConvertible {
        let name: String
        /// Bytes that it moves at 300 kB/s; 0 if it moves none.
        var bytes = ExampleSite.fileSize
        /// What has to be there before.
        var before = ""
        /// How the block is used, which is in the file `block`.
        var use = ". ./block"
        /// Whether it did what it is for.
        var check = ""
        var testDescription: String { name }
    }

    private static let fetches =
        #"printf 'WGET = wget\nall: 1 2 3 4\n1 2 3 4:\n\t$(WGET) -q -O $@ http://example.org/part\n' >fetch.mk"#

    static let recipes = [
        Recipe(
            name: "readme", bytes: 3 * ExampleSite.fileSize,
            check: "cmp file.1 file; cmp served/uploaded/file file; cmp file.2 file"),
        Recipe(
            name: "aliases", bytes: 3 * ExampleSite.fileSize,
            use: """
                . ./block
                wget -q -O a http://example.org/file
                curl -sSf -T file http://example.org/uploaded/b
                slow busybox wget -q -O c http://example.org/file
                """,
            check: "cmp a file; cmp served/uploaded/b file; cmp c file"),
        Recipe(name: "shell", check: "cmp file.1 file"),
        Recipe(
            name: "prompt", bytes: 0, use: "",
            check: #"""
                show() { "$@" bash --rcfile block -ic 'echo "$PS1"'; }
                test "$(show env)" = "$(bash --rcfile /dev/null -ic 'echo "$PS1"')"
                test "$(show throttle -d 300k)" = "(throttle) $(show env)"
                """#),
        Recipe(name: "curl", check: "cmp served/uploaded/curl file"),
        Recipe(name: "scp", check: "cmp home/scp file"),
        Recipe(name: "rsync", check: "cmp rsync file"),
        Recipe(name: "git", check: "cmp project/data file"),
        Recipe(name: "apt", before: "apt-get update -qq", check: "cmp apt/cache/archives/*.deb served/debian/*.deb"),
        Recipe(name: "pip", check: "cmp *.whl served/simple/example-data/*.whl"),
        Recipe(name: "static", check: "cmp static file; ! ldd $(command -v busybox)"),
        Recipe(name: "go", check: #"grep -q "Go buildinf" $(command -v hey)"#),
        Recipe(name: "make", before: fetches, check: "for copy in 1 2 3 4; do cmp $copy served/part; done"),
        Recipe(name: "group", before: fetches, check: "for copy in 1 2 3 4; do cmp $copy served/part; done"),
        Recipe(name: "report", check: "cmp file.1 file"),
        Recipe(name: "doctor", bytes: 0),
        Recipe(name: "github", check: "cmp file.1 file"),
        Recipe(name: "gitlab", check: "cmp file.1 file"),
        Recipe(name: "jenkins", check: "cmp file.1 file"),
        Recipe(name: "flaky", check: "cmp file.1 file"),
        Recipe(name: "background", check: "cmp file.1 file"),
        Recipe(name: "quota", bytes: 400_000, before: "rm file", check: "cmp file served/file"),
        // Where both hierarchies of cgroups are mounted Podman would take the old one. And it has a cache for all images.
        Recipe(
            name: "podman",
            before: """
                mount -t cgroup2 none /sys/fs/cgroup
                cache=/var/lib/containers
                test -d $cache || { mkdir $cache; trap 'umount -l $cache; rmdir $cache' EXIT; }
                mount -t tmpfs none $cache
                podman import -q image.tar docker.io/library/busybox
                """),
        Recipe(
            name: "slurm",
            before: #"printf '#!/bin/sh\nexec "$@"\n' >local/bin/srun; chmod +x local/bin/srun"#,
            use: "bash block", check: "cmp slurm file"),
        Recipe(
            name: "prolog", use: #"eval "$(sh block | grep '^export ')"; throttle wget -nv http://example.org/file"#,
            check: "cmp file.1 file"),
        Recipe(
            name: "systemd",
            before: """
                install -d -o 65534 state; cp block fetch.service
                systemd-analyze verify ./fetch.service 2>&1 | tee /dev/stderr >verdict; test ! -s verdict
                """,
            check: "cmp state/file file"),
        Recipe(name: "cron", check: "cmp fetched file"),
    ]

    @Test func `every block is run`() throws {
        #expect(try Block.all().map(\.name).sorted() == RecipeTests.recipes.map(\.name).sorted())
    }

    @Test(arguments: recipes)
    func `recipe does what it says`(_ recipe: Recipe) throws {
        let block = try #require(Block.all().first { $0.name == recipe.name })
        let lab = try Lab()
        let site = try ExampleSite(lab)
        if block.text.contains("\nDelegate=yes\n") { try lab.delegate() }
        try lab.write(block.text, to: "block")
        let use = try lab.commands(in: block) ?? recipe.use
        try lab.write(
            "\(recipe.before)\necho $EPOCHREALTIME >began\n\(use)\necho $EPOCHREALTIME >ended\n\(recipe.check)\n",
            to: "script")
        let completed = try lab.run(site.entry + ["bash", "-O", "expand_aliases", "-exo", "pipefail", "script"])
        #expect(completed.ending == .exited(0), "\(completed.stdout)\n\(completed.stderr)")
        let seconds = try lab.time("ended") - lab.time("began")
        let due = Double(recipe.bytes) / 300_000
        // Unlimited it takes some 20 ms. Where a limit begins, a burst and a packet come early.
        #expect((0.8 * due...3 * due + 5).contains(seconds), "\(seconds) s")
        if block.text.contains("report.json") {
            let download = try lab.stats("report.json").download
            #expect(download.verdict == "throttled" && (0.85...1.1).contains(download.achieved_ratio ?? 0))
        }
        #expect(lab.cgroup.runs == [])
    }
}

extension Lab {
    /// The commands of a block that is no script, as the program that it is for would run them.
    fileprivate func commands(in block: RecipeTests.Block) throws -> String? {
        switch block.language {
        case "yaml": return try require(["python3", "-c", yaml, "block"])
        case "groovy":
            let variables = block.text.matches(of: #/([A-Z_]+) = '([^']*)'/#).map { "export \($0.1)='\($0.2)'\n" }
            return variables.joined()
                + block.text.matches(of: #/\bsh '([^']*)'/#).map { "sh -xec '\($0.1)'\n" }.joined()
        case "ini":
            let start = try #require(block.text.firstMatch(of: #/(?m)^ExecStart=(.*)$/#)).1
            let names = try #require(block.text.firstMatch(of: #/(?m)^AmbientCapabilities=(.*)$/#)).1
            let capabilities = names.lowercased().split(separator: " ").map { "+\($0.dropFirst(4))" }.joined(
                separator: ",")
            return """
                (cd state && exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,\(capabilities) \
                    --ambient-caps=\(capabilities) -- \(start))
                """
        case "cron":
            let line = try #require(block.text.firstMatch(of: #/^(?:[0-9*]+ ){5}root ([^%\n]+)\n$/#)).1
            return "env -i HOME=/root SHELL=/bin/sh PATH=/usr/bin:/bin /bin/sh -c '\(line)'"
        default: return nil
        }
    }

    fileprivate func time(_ name: String) throws -> Double {
        let text = try String(decoding: content(name), as: UTF8.self)
        return try #require(Double(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    }
}

/// Prints what a GitHub workflow or a GitLab pipeline has the shell do.
private let yaml = """
    import shlex, sys, yaml
    document = yaml.safe_load(open(sys.argv[1]))
    for job in document.get("jobs", document).values():
        for name, value in (job.get("env", {}) | job.get("variables", {})).items():
            print(f"export {name}={shlex.quote(value)}")
        for command in job.get("script", []) + [step["run"] for step in job.get("steps", [])]:
            print("bash -exo pipefail -c", shlex.quote(command))
    """
