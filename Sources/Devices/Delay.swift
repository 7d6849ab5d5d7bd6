import CLibNL
import Kernel
import SystemPackage

/// How long packets wait on their way, whatever the rate (tc-netem(8)).
package struct Delay: Equatable, Sendable {
    package let nanoseconds: UInt64
    /// So much more or less, by chance; at most `nanoseconds`. No packet overtakes another.
    package let jitterNanoseconds: UInt64

    package init(nanoseconds: UInt64, jitterNanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
        self.jitterNanoseconds = jitterNanoseconds
    }
}

extension Hierarchy {
    /// What waits only for a time, and that is long: netem counts packets.
    private static let mostDelayed: UInt32 = 1_000_000

    /// Adds netem to a class, or changes the one that is there.
    func setDelay(_ delay: Delay, of leaf: Handle, flags: CInt, _ route: borrowing RouteSocket) throws(SystemError) {
        let code = route.tell(RTM_NEWQDISC, flags: flags) { message in
            var place = tcmsg()
            place.tcm_ifindex = device
            place.tcm_parent = leaf.rawValue
            place.tcm_handle = leaf.delay
            nlmsg_append(message, &place, MemoryLayout<tcmsg>.size, CInt(NLMSG_ALIGNTO))
            nla_put_string(message, CInt(TCA_KIND), "netem")
            let options = nla_nest_start(message, CInt(TCA_OPTIONS))
            var basics = tc_netem_qopt()
            basics.limit = Hierarchy.mostDelayed
            nlmsg_append(message, &basics, MemoryLayout<tc_netem_qopt>.size, CInt(NLMSG_ALIGNTO))
            nla_put_s64(message, CInt(TCA_NETEM_LATENCY64), Int64(clamping: delay.nanoseconds))
            nla_put_s64(message, CInt(TCA_NETEM_JITTER64), Int64(clamping: delay.jitterNanoseconds))
            // With a rate, netem lets no packet go before the one that came before it (sch_netem.c, netem_enqueue()).
            var rate = tc_netem_rate()
            rate.rate = .max
            nla_put(message, CInt(TCA_NETEM_RATE), CInt(MemoryLayout<tc_netem_rate>.size), &rate)
            nla_put_u64(message, CInt(TCA_NETEM_RATE64), Hierarchy.unlimited.rate)
            nla_nest_end(message, options)
        }
        if code >= 0 { return }
        let errno = Errno(libnl: code)
        let hint = errno == .noSuchFileOrDirectory ? Delay.missing : nil
        throw SystemError("delay packets by", "qdisc netem of device \(name)", errno: errno, hint: hint)
    }
}

extension Delay {
    /// What to do where the kernel has no netem.
    package static var advice: String {
        "modprobe sch_netem; Debian has it in linux-image-amd64, Ubuntu in linux-modules-extra-\(Host.kernelRelease),"
            + " Fedora in kernel-modules-extra"
    }

    fileprivate static var missing: String { "this kernel has no sch_netem: " + advice }
}
