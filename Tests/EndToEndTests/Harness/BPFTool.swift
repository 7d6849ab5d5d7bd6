import Foundation

/// The kernel's BPF objects as bpftool(8) tells of them: a witness that shares no code with the product.
struct BPFTool {
    let lab: Lab

    struct Attachment: Decodable, Equatable {
        let id: Int
        let attach_type: String
        let attach_flags: String
        let name: String

        /// The last word of the type, as `ingress`, `egress`, `create` or `ops`: newer versions put cgroup_inet_ in front.
        var direction: String { attach_type.split(separator: "_").last.map(String.init) ?? "" }
    }

    private struct Program: Decodable {
        let id: Int
        let name: String?
        let map_ids: [Int]?
    }

    /// Programs attached to a cgroup itself.
    func attachments(_ cgroup: String) throws -> [Attachment] {
        let text = try lab.require(["bpftool", "-j", "cgroup", "show", cgroup])
        if text.allSatisfy(\.isWhitespace) { return [] }
        return try JSONDecoder().decode([Attachment].self, from: Data(text.utf8))
    }

    /// Ids of the loaded programs of that product, whoever runs it.
    func throttlePrograms() throws -> Set<Int> {
        // bpftool gives up when a program goes while it lists them.
        for _ in 1...50 {
            guard let text = try? lab.require(["bpftool", "-j", "prog", "show"]),
                let programs = try? JSONDecoder().decode([Program].self, from: Data(text.utf8))
            else { continue }
            return Set(programs.filter { $0.name?.hasPrefix("throttle_") == true }.map(\.id))
        }
        throw HarnessError("bpftool can't list the programs")
    }

    /// Waits until the programs are freed, which the kernel does some time after they are detached.
    func areFreed(_ ids: Set<Int>) -> Bool {
        poll(timeout: .seconds(300)) { (try? throttlePrograms().isDisjoint(with: ids)) ?? false }
    }

    /// Attaches the counting program of foreign.bpf.c to incoming packets of `cgroup`, and returns its id. It
    /// stays as long as the cgroup. Mode: multi, override, or nil for an exclusive one.
    func attachForeignProgram(to cgroup: String, mode: String?) throws -> Int {
        let object = try Fixtures.foreignPrograms.get()
        // The pin lives in a mount namespace that ends with the script.
        let script = #"""
            mkdir -p pins && mount -t bpf none pins && bpftool prog loadall "$1" pins/all &&
            bpftool cgroup attach "$2" cgroup_inet_ingress pinned pins/all/foreign_in $3
            """#
        try lab.require(["unshare", "-m", "sh", "-ec", script, "sh", object, cgroup, mode ?? ""])
        guard let program = try attachments(cgroup).first(where: { $0.name == "foreign_in" }) else {
            throw HarnessError("the foreign program isn't attached to \(cgroup)")
        }
        return program.id
    }

    /// How many packets the foreign program has seen.
    func packets(countedBy id: Int) throws -> Int {
        let text = try lab.require(["bpftool", "-j", "prog", "show", "id", "\(id)"])
        let program = try JSONDecoder().decode(Program.self, from: Data(text.utf8))
        for map in program.map_ids ?? [] {
            let dump = try lab.require(["bpftool", "map", "dump", "id", "\(map)"])
            if let count = dump.firstMatch(of: /"packets": ([0-9]+)/)?.1 { return Int(count) ?? 0 }
        }
        throw HarnessError("program \(id) has no counter")
    }
}
