import CPrograms
import Kernel

/// Programs that are in the kernel.
package protocol LoadedPrograms: ~Copyable {
    /// The file descriptor of a program, for as long as the set lives.
    func descriptor(of hook: Hook) -> CInt
}

/// The BPF programs that hold the limits of one run, loaded.
package struct ProgramSet: LoadedPrograms, ~Copyable {
    let object: BPFObject
    /// What they share with us.
    package let memory: RunMemory

    /// Loads the programs. Nothing is attached yet.
    package init(
        for kernel: KernelVersion, _ limits: Limits, scope: Scope = .all, budget: GroupBudget = .none
    ) throws(LoadError) {
        let object = try BPFObject(programs_limits(ProgramSet.hasCompareAndExchange(kernel)))
        if case .shared(let descriptor) = budget { try object.use(descriptor, forMap: Map.group) }
        let isGrouped = if case .none = budget { false } else { true }
        // Earlier, the program for TCP's events can't tell them.
        try object.declare(scope, isGrouped: isGrouped, hasNetworkCookies: kernel >= KernelVersion(5, 15))
        try object.load()
        try object.fill(scope)
        memory = try RunMemory(of: object, limits, isGrouped: isGrouped)
        self.object = object
    }

    private static func hasCompareAndExchange(_ kernel: KernelVersion) -> Bool { kernel >= KernelVersion(5, 12) }

    /// Which of the two sets of programs a kernel gets, and why, for people.
    package static func variant(for kernel: KernelVersion) -> String {
        hasCompareAndExchange(kernel)
            ? "with cmpxchg (Linux 5.12 and newer)" : "without cmpxchg (new in Linux 5.12)"
    }

    package func descriptor(of hook: Hook) -> CInt { object.descriptor(of: hook) }
}
