import Kernel
import Units

extension Diagnosis {
    /// One JSON object in one line; throttle-doctor(1) has the schema.
    package var json: String {
        Units.json(Document(self))
    }

    /// The schema; `schema` grows when a key changes its meaning or goes.
    private struct Document: Encodable {
        struct Item: Encodable {
            let area: String
            let level: String
            let text: String
            let advice: String?
        }
        struct Program: Encodable {
            let cgroup: String
            let type: String
            let id: UInt32
            let name: String?
            let mode: String
            let effect: String
        }
        struct Remains: Encodable {
            let kind: Leftover.Kind
            let name: String
            let note: String?
        }

        let schema = 1
        let verdict: String
        let findings: [Item]
        let programs: [Program]
        let leftovers: [Remains]

        init(_ diagnosis: Diagnosis) {
            verdict = diagnosis.health.name
            findings = diagnosis.findings.map {
                Item(area: $0.area.rawValue, level: $0.level.rawValue, text: $0.text, advice: $0.advice)
            }
            programs = diagnosis.programs.map {
                Program(
                    cgroup: $0.cgroup, type: $0.type.rawValue, id: $0.program.id, name: $0.program.name,
                    mode: $0.program.mode.rawValue, effect: $0.effect.rawValue)
            }
            leftovers = diagnosis.leftovers.map { Remains(kind: $0.kind, name: $0.name, note: $0.note) }
        }
    }
}
