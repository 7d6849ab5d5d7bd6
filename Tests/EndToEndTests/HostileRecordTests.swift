import Foundation
import Testing

/// What a user has put where their runs are recorded, or answers, is hostile to root, who reads it.
@Suite struct HostileRecordTests {
    let lab: Lab

    init() throws {
        lab = try Lab()
    }

    /// Runs a shell script, whose `$1` is throttle, as root, who sees only a run of root's own, `fetch`, with the id `$RUN`,
    /// and what the user nobody has, by a Python program.
    private func beside(_ program: String, _ input: String, asRoot: Bool = false, _ script: String) throws -> Completed
    {
        let setUp = #"""
            mount --make-rprivate / && mount -t tmpfs -o mode=755 none /run && mkdir -p /run/user/65534
            mount -t tmpfs -o mode=700,uid=65534,gid=65534 none /run/user/65534
            "$1" run -d 50k --name fetch -- sleep 60 >/dev/null 2>&1 &
            export RUN=$!
            $2 python3 "$3" "$4" >hostile 2>errors &
            export HOSTILE=$!
            trap 'kill $HOSTILE $RUN; wait' EXIT
            for i in $(seq 100); do
                [ -s hostile ] && [ -S /run/throttle/$RUN.socket ] && break || sleep 0.1
            done
            grep -q ready hostile || { cat errors >&2; exit 99; }
            # Root's run answers when its queue is up.
            "$1" stats "$RUN" >/dev/null 2>&1 || :
            status=0
            timeout 20 sh -c "$5" sh "$1" || status=$?
            exit $status
            """#
        let user = asRoot ? "env" : "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --"
        let words = [throttlePath, user, Fixtures.script(program), input, script]
        return try lab.run(["unshare", "-m", "sh", "-ec", setUp, "sh"] + words)
    }

    private func beside(records: String, _ script: String) throws -> Completed {
        try beside("hostile.py", records, script)
    }

    /// Root's run is listed as ever, whatever else is there.
    private func expectFetch(_ completed: Completed) {
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let row = completed.stdout.split(separator: "\n").first { $0.contains(" fetch ") }
        #expect(row?.contains("police+window") == true, "\(completed.stdout)")
    }

    @Test(arguments: [
        #"{"change":{"started":-9223372036854775808},"how":"none"}"#, #"{"change":{"started":-1},"how":"none"}"#,
        #"{"change":{"started":9223372036854775807},"how":"none"}"#, #"{"change":{"pid":-1}}"#,
        #"{"change":{"down":0}}"#, #"{"change":{"group":"\u001b[2J"}}"#, #"{"change":{"id":"../1"}}"#,
    ])
    func `record that can't be is no run`(_ record: String) throws {
        let completed = try beside(records: #"[{"file":"1",\#(record.dropFirst())]"#, #""$1" list"#)
        expectFetch(completed)
        #expect(completed.stdout.split(separator: "\n").count == 2)
    }

    @Test(arguments: [
        #"{"elapsed_seconds":1e300}"#, #"{"elapsed_seconds":-1}"#, #"{"planes":["\u001b]0;x\u0007"]}"#,
        #"{"download":{"limit_bytes_per_second":0,"passed_payload_bytes":1,"passed_wire_bytes":1}}"#,
        #"{"count":"\u001b[2J"}"#, #"{"group":{"name":"\u009b2J"}}"#, #""no report \u001b[2J""#, #""""#,
    ])
    func `answer that can't be is none`(_ answer: String) throws {
        let completed = try beside(records: #"[{"file":"1","answer":\#(answer)}]"#, #""$1" list"#)
        expectFetch(completed)
        let row = completed.stdout.split(separator: "\n").first { $0.contains("wget x") }
        #expect(row?.hasPrefix("65534/1") == true && row?.contains("police") == false)
        #expect(!completed.stdout.contains("\u{1b}") && !completed.stdout.contains("\u{9b}"))
    }

    /// Each for itself, and many of them at once.
    @Test(arguments: ["full", "silent", "slow", "endless", "none"], [1, 60])
    func `who does not answer keeps nobody waiting`(_ how: String, _ times: Int) throws {
        let records = #"[{"file":"1","how":"\#(how)","times":\#(times)}]"#
        // Little memory, which an endless answer would need, and a time that is short even for a busy machine.
        let completed = try beside(records: records, #"ulimit -v 600000; exec timeout 10 "$1" list"#)
        expectFetch(completed)
        #expect(completed.stdout.split(separator: "\n").count == times + 2)
    }

    @Test func `flood of records is cut short and said`() throws {
        let records = #"[{"file":"1","how":"none","times":3000}]"#
        let completed = try beside(records: records, #"exec timeout 15 "$1" list"#)
        expectFetch(completed)
        #expect(completed.stderr.contains("/run/user/65534/throttle holds more than a user's runs"))
        let cleaned = try beside(records: records, #"kill -9 $HOSTILE; sleep 1; exec "$1" cleanup"#)
        #expect([.exited(0), .exited(1)].contains(cleaned.ending))
    }

    /// A socket that leads elsewhere, or is somebody else's.
    @Test func `link to the socket of root's run is not followed`() throws {
        let script = #"""
            ln -s "/run/throttle/$RUN.socket" /run/user/65534/throttle/1.socket
            ! "$1" set 65534/1 -d 1M && "$1" stats "$RUN" --json
            """#
        let completed = try beside(records: #"[{"file":"1","how":"none"}]"#, script)
        #expect(completed.stderr.contains("Permission denied"))
        #expect(try Stats(completed.stdout).download.limit_bytes_per_second == 50_000)
    }

    @Test(arguments: ["id", "name"])
    func `record takes not the place of root's run`(_ key: String) throws {
        let script = #""$1" set fetch -d 1M && "$1" set "$RUN" -u 2M && "$1" stats "$RUN" --json"#
        let completed = try beside(records: #"[{"file":"1","change":{"\#(key)":"fetch"}}]"#, script)
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        let report = try Stats(String(completed.stdout.split(separator: "\n").last ?? ""))
        #expect(report.download.limit_bytes_per_second == 1_000_000)
        #expect(report.upload.limit_bytes_per_second == 2_000_000)
    }

    /// Another user's run is meant where that is said.
    @Test func `run of another user has their id in front`() throws {
        let records = #"[{"file":"4711","change":{"name":"theirs","pid":12},"answer":{}}]"#
        let script = #"""
            for id in 4711 theirs 12; do
                "$1" set "65534/$id" -d 1M; ! "$1" set "$id" -d 1M 2>error; cat error
            done
            """#
        let completed = try beside(records: records, script)
        let lines = completed.stdout.split(separator: "\n")
        #expect(lines.filter { $0.hasPrefix("65534/4711 (theirs): down ") }.count == 3, "\(completed.stderr)")
        #expect(lines.filter { $0.hasSuffix(" lives here; of other users there is 65534/4711") }.count == 3)
    }

    @Test func `escapes of an answer reach no terminal`() throws {
        let evil = #"\u001b[2J\u009b2J\u202e"#
        let text = try beside(
            records: #"[{"file":"1","answer":"one \#(evil)\ntwo\n"}]"#, #""$1" stats 65534/1; "$1" set 65534/1 -d 1M"#)
        #expect(text.stdout == "one \\u{1B}[2J\\u{009B}2J\\u{202E}\ntwo\n")
        let json = try beside(
            records: #"[{"file":"1","change":{"name":"\#(evil)"},"answer":{"mode":"\#(evil)"}}]"#,
            #""$1" stats 65534/1 --json; "$1" list; "$1" list --json; "$1" set 65534/1 -d 1M"#)
        #expect(json.ending == .exited(0) && json.stdout.contains(#"\u001b[2J\u009b2J\u202e"#))
        for completed in [text, json] {
            let output = completed.stdout + completed.stderr
            #expect(!output.unicodeScalars.contains { ["\u{1b}", "\u{9b}", "\u{202e}"].contains($0) })
        }
    }

    /// Where the user's folder is a FUSE file system that never answers.
    @Test(arguments: ["/run/user/65534", "/run/user/65534/throttle"])
    func `file system that never answers keeps nobody waiting`(_ place: String) throws {
        let script = #"timeout 10 "$1" list && timeout 10 "$1" cleanup"#
        let completed = try beside("fuse.py", place, asRoot: true, script)
        #expect(completed.ending == .exited(0), "\(completed.stderr)")
        #expect(completed.stdout.contains(" fetch ") && completed.stdout.hasSuffix("nothing to clean up\n"))
    }
}
