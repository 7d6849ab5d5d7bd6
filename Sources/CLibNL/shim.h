#include <net/if_arp.h> /* ARPHRD_* */
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/class.h>
#include <netlink/route/classifier.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/link/macvlan.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/fifo.h>
#include <netlink/route/qdisc/fq_codel.h>
#include <netlink/route/qdisc/htb.h>
#include <netlink/route/tc.h>
#include <netlink/socket.h>
#include <linux/if_ether.h> /* ETH_P_ALL */
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h> /* netem */
#include <linux/tc_act/tc_mirred.h>
