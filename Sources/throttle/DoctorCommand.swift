import ArgumentParser
import Doctor
import Kernel
import Processes

/// `throttle doctor`: whether limits can be set up here, and hold.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Say whether throttle can work here, and what to do where it can't.",
        discussion: """
            Looks at the kernel, the caller's cgroup and what is attached there, tries each thing that a run needs, and \
            limits a short transfer over loopback. Nothing is changed. The exit status is 0 if all is well, 1 if limits \
            work but not at their best, 2 if they don't work.
            """)

    @Flag(help: "Print one JSON object.")
    var json = false

    @Option(help: .hidden)
    var transfer: Int32?

    @Option(help: .hidden)
    var datagrams: Int32?

    func run() throws {
        if let transfer { throw ExitCode(SelfTransfer.run(transfer) ? 0 : 1) }
        if let datagrams { throw ExitCode(SelfTunnel.run(datagrams) ? 0 : 1) }
        let caller = try Caller()
        let diagnosis = try Doctor.examine(as: caller)
        if let signal = diagnosis.interruption { throw ExitCode(Outcome.killed(signal: signal).relay()) }
        Host.tell((json ? diagnosis.json : diagnosis.text) + "\n", on: 1, isLast: true)
        if diagnosis.health != .ready { throw ExitCode(diagnosis.health.status) }
    }
}
