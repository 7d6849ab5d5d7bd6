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
    package init(for kernel: KernelVersion, sharing memory: RunMemory) throws(LoadError) {
        object = try .loaded(
            programs_limits(ProgramSet.hasCompareAndExchange(kernel), ProgramSet.hasLoop(kernel)),
            on: memory.maps)
        self.memory = memory
    }

    /// The first kernel whose BPF has cmpxchg: the compiler in the kernel is another for each architecture.
    static var firstWithCompareAndExchange: KernelVersion {
        #if arch(x86_64)
            KernelVersion(5, 12)
        #else
            KernelVersion(5, 18)
        #endif
    }

    private static func hasCompareAndExchange(_ kernel: KernelVersion) -> Bool { kernel >= firstWithCompareAndExchange }
    private static func hasLoop(_ kernel: KernelVersion) -> Bool { kernel >= KernelVersion(5, 17) }

    /// Which of the sets of programs a kernel gets, and why, for people.
    package static func variant(for kernel: KernelVersion) -> String {
        let first = firstWithCompareAndExchange
        if !hasCompareAndExchange(kernel) { return "without cmpxchg (new in Linux \(first))" }
        return hasLoop(kernel) ? "with cmpxchg (Linux \(first) and newer)" : "without bpf_loop() (new in Linux 5.17)"
    }

    package func descriptor(of hook: Hook) -> CInt { object.descriptor(of: hook) }
}
