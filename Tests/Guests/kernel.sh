#!/bin/sh
# The checks of one kernel, on a pure cgroup v2 without systemd. To add one: a function, and its line at the end.
# shellcheck source=Tests/Guests/check.sh
. /tests/check.sh
# shellcheck source=Tests/Guests/transfer.sh
. /tests/transfer.sh
# shellcheck source=Tests/Guests/network.sh
. /tests/network.sh

at_least() { [ "$(printf '%s\n' "$1" "$(uname -r)" | sort -V | head -n 1)" = "$1" ]; }

# Limits

# By clsact before Linux 6.6, else by tcx and without a qdisc; only on the device that the run uses.
check_way_in() {
    throttle run -d 500k -- sh -c "ping -c 1 $FAR4; exec sleep 60" &
    later "kill $!"
    at_least 6.6 && way=tcx program=throttle_shape || way=clsact program=throttle_match
    note "way=$way"
    wait_for sh -c "bpftool prog list | grep -q 'name $program'" || fail "there is no $program: $(bpftool prog list)"
    sleep 1
    tc qdisc show dev near >"$T/qdiscs"
    found=$(grep -c clsact "$T/qdiscs")
    equal "$found" "$([ "$way" = clsact ] && echo 1 || echo 0)" "the number of clsacts"
    tc qdisc show dev lo >"$T/qdiscs"
    equal "$(grep -c clsact "$T/qdiscs")" 0 "the number of loopback's clsacts"
}

# A device with a clsact of others' has throttle_match there, on any kernel, and keeps its own.
check_beside_clsact() {
    tc qdisc add dev near clsact
    later "tc qdisc del dev near clsact"
    shaped "$FAR4" 1M
    tc qdisc show dev near >"$T/qdiscs"
    contains "$T/qdiscs" clsact
}

# check_wan FUNCTION MILLISECONDS RATE [LOSS]: the sender's device delays all that it sends.
check_wan() {
    function=$1 delay_ms=$2 rate=$3 loss=${4:-}
    OMIT=2 SECONDS_LONG=6
    [ "$function" = paced ] && side= || side="-n far"
    [ "$function" = paced ] && device=near || device=far
    # shellcheck disable=SC2086 # several words
    tc $side qdisc add dev $device root netem delay "${delay_ms}ms" ${loss:+loss "$loss"} limit 10000 || fail "no netem"
    later "tc $side qdisc del dev $device root"
    if [ -z "$loss" ]; then
        "$function" "$FAR4" "$rate"
    else
        [ "$function" = paced ] && direction=up || direction=down
        transfer "$direction" "$FAR4" "$rate"
        # shellcheck disable=SC2086 # several words
        lost=$(tc $side -s -j qdisc show dev $device root | jq '.[0].drops')
        note "lost=$lost" "retransmits=$retransmits"
        [ "$lost" -gt 0 ] || fail "netem lost nothing"
        within 0.85 1.05 "$ratio" "the ratio"
    fi
}

# fq as the root of the sender's device does its own pacing, of the same rate.
check_fq_beside_pace() {
    tc qdisc add dev near root fq || fail "no fq"
    later "tc qdisc del dev near root"
    paced "$FAR4" 2M
    dropped=$(tc -s -j qdisc show dev near root | jq '.[0].drops')
    equal "$dropped" 0 "what fq dropped"
}

# Ten small requests beside a download that fills the limit: fq_codel lets them pass what waits in the queue.
check_latency() {
    serve_file 200
    serve "$FAR4"
    cat >"$T/script" <<-END
	. /tests/check.sh
	ten() { for _ in 1 2 3 4 5 6 7 8 9 10; do wget -q -O /dev/null http://$FAR4:8080/file || exit 1; done; }
	began=\$(uptime_now); ten; alone=\$(calculate "(\$(uptime_now) - \$began) / 10 * 1000")
	iperf3 -c $FAR4 -R -t 6 -J >$T/iperf.json &
	sleep 2
	tc qdisc show >$T/qdiscs
	began=\$(uptime_now); ten; loaded=\$(calculate "(\$(uptime_now) - \$began) / 10 * 1000")
	echo "\$alone \$loaded" >$T/times
	wait
	END
    timeout 60 throttle run -d 500k --stats=json --stats-file "$T/report.json" -- sh "$T/script" 2>"$T/errors" ||
        fail "no requests: $(cat "$T/errors")"
    direction=down
    measure
    grep -q 'fq_codel.*parent' "$T/qdiscs" || fail "no fq_codel: $(tr '\n' ';' <"$T/qdiscs")"
    read -r alone loaded <"$T/times"
    note "alone=$alone loaded=$loaded queue=$delay"
    equal "$drops" 0 "the number of dropped packets"
    within -1000 "$(calculate "$delay / 2")" "$(calculate "$loaded - $alone")" "what a request waited, in ms,"
}

# A run's first connection is made at once, and what comes through it waits in a queue; with police, which has none,
# nothing is held back.
check_connect() {
    stream receive tcp 1000k
    note "delay=$delay" "deferred=$deferred"
    within 0 1000 "$connect" "what connecting took, in ms,"
    has_plane shape
    equal "$drops" 0 "the number of dropped packets"
    within 0.9 1.1 "$ratio" "the ratio"
    within 1 1000 "$delay" "the delay in the queue, in ms,"
}

check_connect_police() {
    stream receive tcp 1000k --mode police
    note "drops=$drops"
    within 0 1000 "$connect" "what connecting took, in ms,"
    equal "$deferred" 0 "the number of deferred packets"
    equal "$planes" "$(echo "$planes" | sed 's/+shape//')" "the list of planes"
}

# check_mptcp send|receive [LEAST]: the kernel makes the sockets of TCP in it.
check_mptcp() {
    python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)' 2>"$T/why" ||
        skip "no MPTCP: $(tail -n 1 "$T/why")"
    before=$(mptcp_connections)
    stream "$1" mptcp 1000k
    equal "$(($(mptcp_connections) - before))" 1 "the number of connections by MPTCP"
    [ "$1" = receive ] && plane=shape || plane=pace
    has_plane "$plane"
    note "drops=$drops" "delay=$delay"
    within "${2:-0.9}" 1.1 "$ratio" "the ratio"
}

# The first packet of a connection isn't held, as it would fall back to TCP. Its first data is; but here the server sends
# first, so some of that may come before the queue is there.
check_mptcp_first() {
    check_mptcp receive
    within 0 60 "$drops" "the number of dropped packets"
}

check_mptcp_later() {
    echo "ping -c 1 $FAR4 >&2; sleep 0.5; exec \"\$@\"" >"$T/later"
    ENTER="sh $T/later"
    check_mptcp receive 0.75 # the ping and the rest behind it count, too
    equal "$drops" 0 "the number of dropped packets"
    within 1 1000 "$delay" "the delay in the queue, in ms,"
}

check_mptcp_up() {
    check_mptcp send
    equal "$drops" 0 "the number of dropped packets"
    equal "$(jq .upload.retransmitted_segments "$T/report.json")" 0 "the number of retransmits"
}

mptcp_connections() { nstat -asz MPTcpExtMPCapableSYNACKRX | awk '/^MPTcp/ { print $2 }'; }

# Devices without Ethernet

# Both make "tunnel" here and in far, the two ends of one over veth.
make_wireguard() {
    for side in near far; do
        wg genkey >"$T/$side.key"
        wg pubkey <"$T/$side.key" >"$T/$side.public"
    done
    ip link add tunnel type wireguard && ip -n far link add tunnel type wireguard &&
        wg set tunnel listen-port 51820 private-key "$T/near.key" \
            peer "$(cat "$T/far.public")" endpoint "$FAR4:51820" allowed-ips 10.8.0.2/32 &&
        in_far wg set tunnel listen-port 51820 private-key "$T/far.key" \
            peer "$(cat "$T/near.public")" endpoint "$NEAR4:51820" allowed-ips 10.8.0.1/32
}

make_tunnel() {
    ip link add tunnel type "$1" local "$NEAR4" remote "$FAR4" &&
        ip -n far link add tunnel type "$1" local "$FAR4" remote "$NEAR4"
}

hooks_of_tunnel() { tc qdisc show dev tunnel && tc filter show dev tunnel ingress 2>/dev/null; }

hooks_are_gone() { [ "$(hooks_of_tunnel)" = "$(cat "$T/hooks-before")" ]; }

# tunnel KIND: makes it, with addresses; it ends with the check. Sets peer, far's address.
tunnel() {
    modprobe "rtnl-link-$1" || skip "this kernel has no $1"
    later "ip link del tunnel; ip -n far link del tunnel"
    if [ "$1" = wireguard ]; then make_wireguard; else make_tunnel "$1"; fi || fail "no $1"
    [ "$1" = sit ] && network=fd08:: bits=64 || network=10.8.0. bits=24
    peer=${network}2
    ip addr add "${network}1/$bits" dev tunnel
    ip -n far addr add "$peer/$bits" dev tunnel
    ip link set tunnel up
    ip -n far link set tunnel up
    wait_for ping -c 1 -W 1 "$peer" || fail "nothing passes the tunnel"
}

# check_tunnel KIND [clsact]: a download through such a device, which may have a clsact of others'.
check_tunnel() {
    SECONDS_LONG=3
    tunnel "$1"
    if [ $# = 2 ]; then tc qdisc add dev tunnel clsact || fail "no clsact"; fi
    hooks_of_tunnel >"$T/hooks-before"
    (sleep 2 && hooks_of_tunnel) >"$T/hooks" &
    FLOWS=4 shaped "$peer" 1M
    within 0.95 1.03 "$ratio" "the ratio"
    grep -q throttle_match "$T/hooks" && way=filter || way=tcx
    [ $# = 1 ] && at_least 6.6 && wanted=tcx || wanted=filter
    note "way=$way"
    equal "$way" "$wanted" "the way into the queue"
    wait_for hooks_are_gone || fail "left behind: $(hooks_of_tunnel | tr '\n' ';')"
}

# An IFB would drop what sit receives in large pieces, so it has no queue.
check_sit() {
    SECONDS_LONG=3
    tunnel sit
    FLOWS=4 transfer down "$peer" 1M
    note "drops=$drops" "planes=$planes"
    equal "$planes" "$(echo "$planes" | sed 's/+shape//')" "the list of planes"
    within 0.8 1.1 "$ratio" "the ratio"
}

# Uploads by UDP

hooks_of() { tc qdisc show dev "$1" && tc filter show dev "$1" egress 2>/dev/null; }

# check_flood ADDRESS DEVICE [PRIORITY]: at 5 times the limit nothing is dropped. Before Linux 6.6 packets are led into the
# queue by a filter, in a clsact of the run's own unless its priority is that in one of others'; else by tcx.
check_flood() {
    device=$2 priority=${3:-7474}
    (sleep 3 && hooks_of "$device" && bpftool prog list) >"$T/hooks" 2>"$T/hooks-errors" &
    hooks=$!
    queued "$1" 500k 2500000
    wait $hooks
    within 0.9 1.1 "$ratio" "the ratio"
    contains "$T/hooks" "name throttle_hold"
    way=$(sed -n 's/.* pref \([0-9]*\) .* throttle_hold.*/filter-\1/p' "$T/hooks")
    note "way=${way:-tcx}"
    at_least 6.6 && wanted=tcx || wanted=filter-$priority
    equal "${way:-tcx}" "$wanted" "the way into the queue"
    [ "$wanted$priority" = tcx7474 ] && wanted=0 || wanted=1
    equal "$(grep -c clsact "$T/hooks")" "$wanted" "the number of clsacts"
}

# Filters of others see a packet once, when it has waited, even those of the first priority.
check_flood_clsact() {
    tc qdisc add dev near clsact || fail "no clsact"
    later "tc qdisc del dev near clsact"
    tc filter add dev near egress pref 1 bpf bytecode "1,6 0 0 4294967295" action ok || fail "no filter"
    tc filter show dev near egress >"$T/filters"
    check_flood "$FAR4" near 1
    equal "$(tc filter show dev near egress)" "$(cat "$T/filters")" "the list of filters"
    seen=$(tc -s -j filter show dev near egress | jq '[.. | .packets? // empty] | max')
    note "seen=$seen"
    within "$came" "$((came + 9))" "$seen" "the number of packets that the filter saw" # ARP's, too
}

check_flood_tunnel() {
    tunnel "$1"
    check_flood "$peer" tunnel
}

# TCP has half, and loses nothing.
check_flood_tcp() {
    serve "$FAR4"
    queued "$FAR4" 500k 2500000 -- sh -c "sleep 1; exec iperf3 -c $FAR4 -J -t 3"
    jq -r '.end | "\(.sum_received.bits_per_second / 4e6) \(.sum_sent.retransmits)"' "$T/beside" >"$T/tcp"
    read -r share retransmits <"$T/tcp"
    note "tcp=$(calculate "$share")" "retransmits=$retransmits"
    within 0.3 0.75 "$share" "TCP's share"
    equal "$retransmits" 0 "the number of retransmits"
}

# fq_codel shares equally between flows, and lets a small one overtake.
check_flood_flows() {
    queued "$FAR4" 500k 2500000 1000000 500/100
    within 0.9 1.1 "$ratio" "the ratio"
    tr '\n' ' ' <"$T/flows" >"$T/words"
    # shellcheck disable=SC2034 # most: the longest waits
    read -r first most flood second most most small most wait <"$T/words"
    note "shares=$(calculate "$first / $second")" "flood=$flood" "small=$wait" "most=$most"
    within 0.8 1.25 "$(calculate "$first / $second")" "one flow's share to the other's"
    within 400 600 "$small" "the small flow's rate"
    within 0 "$(calculate "$flood / 4")" "$wait" "what the small flow waited, in ms,"
}

# What runs already

check_attach_up() {
    attach up "$@"
    has_plane "$([ $# = 0 ] && echo pace || echo queue)"
    equal "$drops" 0 "the number of dropped packets"
    within 0.85 1.15 "$ratio" "the ratio"
}

# Before Linux 6.12 the windows of what is open stay, and police may drop what the queue has no room for.
check_attach_down() {
    attach down
    has_plane shape
    at_least 6.12 || { within 0.8 1.2 "$ratio" "the ratio" && return; }
    equal "$drops" 0 "the number of dropped packets"
    within 0.85 1.15 "$ratio" "the ratio"
}

# Places

# A command that enters a network namespace. Before Linux 5.15 sockets don't tell theirs: there is no queue then.
check_entered_namespace() {
    ENTER="ip netns exec far"
    if at_least 5.15; then
        shaped "$NEAR4" 1M
        within 0.95 1.03 "$ratio" "the ratio"
    else
        transfer down "$NEAR4" 1M
        note "drops=$drops" "planes=$planes"
        within 0.8 1.2 "$ratio" "the ratio"
    fi
}

check_nested() {
    mkdir -p /sys/fs/cgroup/a/b
    later "rmdir /sys/fs/cgroup/a/b /sys/fs/cgroup/a"
    sh -c 'echo $$ >/sys/fs/cgroup/a/b/cgroup.procs && exec throttle run -d 1M -- cat /proc/self/cgroup' \
        >"$T/cgroup" 2>"$T/errors"
    grep -q '^0::/a/b/throttle-[0-9-]*/run$' "$T/cgroup" || fail "it ran in $(cat "$T/cgroup" "$T/errors")"
    transfer down "$FAR4" 1M --cgroup-parent /sys/fs/cgroup/a/b
    within 0.95 1.05 "$ratio" "the ratio"
}

# It hides the mount of cgroup v2.
check_ip_netns_exec() {
    mkdir -p "$T/www"
    head -c 1000000 /dev/zero >"$T/www/file"
    busybox httpd -f -p 8081 -h "$T/www" &
    later "kill $!"
    wait_for listens $! 8081 || fail "the server doesn't listen"
    timeout 60 ip netns exec far throttle run -d 300k --stats=json --stats-file "$T/report.json" -- \
        wget -q -O /dev/null http://$NEAR4:8081/file 2>"$T/errors" || fail "it failed: $(cat "$T/errors")"
    ratio=$(jq .download.achieved_ratio "$T/report.json")
    note "ratio=$(calculate "$ratio")"
    within 0.9 1.1 "$ratio" "the ratio"
}

# Steering

# background OPTION...: a download at 400k, in a run called web; its wrapper is $wrapper.
background() {
    direction=down
    serve "$FAR4"
    throttle run -d 400k --name web --stats=json --stats-file "$T/report.json" "$@" -- \
        sh -c "iperf3 -c $FAR4 -R -J -O 1 -t ${BACKGROUND:-6} >$T/iperf.json; touch $T/done" 2>"$T/errors" &
    wrapper=$!
    later "kill $wrapper"
    wait_for sh -c 'throttle list --json | grep -q shape' || fail "it doesn't get a queue: $(cat "$T/errors")"
    sleep 1
}

# What the download came to, also where nobody reports.
background_ratio() {
    for _ in 1 2 3; do wait_for test -e "$T/done" && break; done
    ratio=$(jq '.end.sum_received.bits_per_second / 8 / 400000 * 1000 | round / 1000' "$T/iperf.json")
    note "ratio=$ratio"
    within "$1" "$2" "$ratio" "the ratio"
}

check_set() {
    BACKGROUND=10 background
    throttle list >"$T/list"
    contains "$T/list" web
    contains "$T/list" "of 400.0 kB/s"
    sleep 4
    throttle set web -d 1600k >/dev/null || fail "set failed"
    throttle stats web --json >"$T/stats"
    equal "$(jq .download.limit_bytes_per_second "$T/stats")" 1600000 "the new limit"
    wait $wrapper
    jq -r '[.intervals[].sum | select(.omitted | not) | .bytes / .seconds] |
        "\(.[1:3] | add / length / 400000) \(.[-4:-1] | add / length / 1600000)"' "$T/iperf.json" >"$T/ratios"
    read -r before after <"$T/ratios"
    note "before=$(calculate "$before")" "after=$(calculate "$after")"
    within 0.93 1.07 "$before" "the first ratio"
    within 0.93 1.07 "$after" "the second ratio"
}

# Two runs share the budget of their group, equally.
check_group() {
    serve "$FAR4"
    serve "$FAR4" 5202
    for port in 5201 5202; do
        # shellcheck disable=SC2046 # words
        throttle run -g shared $([ $port = 5201 ] && echo -d 1M) -- \
            iperf3 -c "$FAR4" -p $port -R -J -O 2 -t 6 >"$T/$port.json" 2>>"$T/errors" &
        later "kill $!"
        eval "run$port=$!"
        sleep 0.2
    done
    # shellcheck disable=SC2154 # by eval
    wait "$run5201" "$run5202"
    jq -r '.end.sum_received.bits_per_second / 8000000' "$T/5201.json" "$T/5202.json" | tr '\n' ' ' >"$T/shares"
    read -r first second <"$T/shares"
    note "ratio=$(calculate "$first + $second")" "first=$(calculate "$first")" "second=$(calculate "$second")"
    within 0.95 1.06 "$(calculate "$first + $second")" "the ratio"
    within 0.43 0.57 "$first" "the share of the first"
}

# A limited peer within an exempt network; then all of that network exempt.
check_scope() {
    shaped "$FAR4" 1M --except 10.0.0.0/8 --only "$FAR4"
    serve "$FAR4"
    throttle run -d 100k --except 10.9.0.0/24 --stats=json --stats-file "$T/report.json" -- \
        iperf3 -c "$FAR4" -J -R -t 2 >"$T/iperf.json" 2>"$T/errors" || fail "$(tail -n 2 "$T/errors")"
    equal "$(jq -r .download.verdict "$T/report.json")" exempt "the verdict"
    exempt=$(jq '.end.sum_received.bits_per_second / 800000' "$T/iperf.json")
    note "exempt=$(calculate "$exempt")"
    within 3 1000000 "$exempt" "the exempt peer's rate over the limit"
}

# Ends

check_linger_keep() {
    serve "$FAR4"
    throttle run -d 400k -v -- \
        sh -c "(iperf3 -c $FAR4 -R -J -O 1 -t 5 >$T/iperf.json; touch $T/done) & exit 4" 2>"$T/errors"
    equal $? 4 "the status"
    contains "$T/errors" "limited until they end"
    sleep 2
    throttle list --json >"$T/list" 2>>"$T/errors"
    equal "$?: $(jq '.runs | length' "$T/list")" "0: 1" "the status of list, and the number of runs"
    background_ratio 0.95 1.05
}

check_kill_wrapper() {
    background "$@"
    kill -9 $wrapper
    background_ratio 0.95 1.05
}

guards() { pidof throttle | tr ' ' '\n' | grep -vx "$wrapper"; }

check_kill_guard() {
    background "$@"
    # shellcheck disable=SC2046 # words
    kill -9 $(guards) || fail "no guard"
    background_ratio 0.8 1.25
    wait $wrapper
    equal $? 0 "the status"
    contains "$T/errors" "the guard process was ended"
}

check_kill_both() {
    background "$@"
    # shellcheck disable=SC2046 # words
    kill -9 "$wrapper" $(guards)
    for _ in 1 2 3; do wait_for test -e "$T/done" && break; done
    throttle cleanup --dry-run >"$T/would"
    contains "$T/would" "would remove cgroup"
    contains "$T/would" "would remove device"
    throttle cleanup >"$T/did" || fail "cleanup: status $?"
    throttle cleanup >"$T/again"
    contains "$T/again" "nothing to clean up"
}

# Diagnoses

# An exclusive program is named, by the run and by the doctor. It is one of a run, so that nothing has to be compiled.
check_exclusive() {
    cgroup=/sys/fs/cgroup/exclusive
    mkdir $cgroup
    later "rmdir $cgroup"
    throttle run -d 1M -- sleep 60 &
    run=$!
    later "kill $run"
    wait_for sh -c "bpftool prog list | grep -q 'name throttle_down'"
    id=$(bpftool prog list | sed -n 's/^\([0-9]*\): .*name throttle_down.*/\1/p' | head -n 1)
    bpftool prog pin id "$id" /sys/fs/bpf/exclusive || fail "no program of a run"
    later "rm /sys/fs/bpf/exclusive"
    kill $run
    wait $run
    bpftool cgroup attach $cgroup ingress pinned /sys/fs/bpf/exclusive || fail "can't attach it"
    later "bpftool cgroup detach $cgroup ingress pinned /sys/fs/bpf/exclusive"
    throttle run -d 1M --cgroup-parent $cgroup -- true 2>"$T/errors"
    equal $? 125 "the status"
    contains "$T/errors" "program $id (throttle_down) is attached to $cgroup in mode exclusive"
    (echo 0 >$cgroup/cgroup.procs && throttle doctor --json) >"$T/doctor"
    equal $? 2 "the doctor's status"
    equal "$(jq -r '.programs[] | select(.effect == "stops").id' "$T/doctor")" "$id" "what the doctor names"
}

echo "# $(uname -r)"
# Else each namespace has one of each kind of tunnel as soon as its module is there.
sysctl -q net.core.fb_tunnels_only_for_init_net=2
make_network || exit 1
modprobe tcp_bbr
# Else the first queue comes so late that datagrams are dropped: there is no bpf_loop() to wait for it.
at_least 5.17 || modprobe -a macvlan ifb sch_htb sch_fq_codel sch_ingress cls_bpf

# Without TCP_MAXSEG (Linux 6.1) loopback's segments have 64 KB, of which the receiver's first window takes one; its
# acknowledgement is delayed. An upload at 1 MB/s comes to 0.34 to 0.65, and the doctor's self-test to 0.65.
# Windows are bounded by buffers there, which net.core.rmem_max bounds.
at_least 5.11 || KNOWN="doctor loopback-up-1M slow-down-2000 profile-satellite"

check doctor check_ready
check way-in check_way_in
for rate in 200k 2M 8M; do
    check "veth-down-$rate" shaped "$FAR4" $rate
    check "veth-up-$rate" paced "$FAR4" $rate
done
check veth6-down-2M shaped "$FAR6" 2M
check loopback-down-1M shaped 127.0.0.1 1M
check loopback-up-1M paced 127.0.0.1 1M
check police-down-1M policed "$FAR4" 1M
ATTACH=legacy check legacy-down shaped "$FAR4" 1M
ATTACH=legacy check legacy-up paced "$FAR4" 1M
check beside-clsact check_beside_clsact
CONTROL=bbr check bbr-down shaped "$FAR4" 1M
CONTROL=bbr check bbr-up paced "$FAR4" 1M
for delay in 5 25 100; do
    check "wan-$delay-down" check_wan shaped $delay 1M
    check "wan-$delay-up" check_wan paced $delay 1M
done
check wan-25-loss-down check_wan shaped 25 500k 0.5%
check wan-25-loss-up check_wan paced 25 500k 0.5%
check fq-beside-pace check_fq_beside_pace
check latency check_latency
check connect check_connect
check connect-police check_connect_police
check mptcp-first check_mptcp_first
check mptcp-later check_mptcp_later
check mptcp-up check_mptcp_up
check wireguard check_tunnel wireguard
check wireguard-clsact check_tunnel wireguard clsact
check ipip check_tunnel ipip
check gre-clsact check_tunnel gre clsact
check sit check_sit
check udp-up check_flood "$FAR4" near
check udp-up-loopback check_flood 127.0.0.1 lo
check udp-up-clsact check_flood_clsact
check udp-up-ipip check_flood_tunnel ipip
check udp-up-wireguard check_flood_tunnel wireguard
check udp-up-tcp check_flood_tcp
check udp-up-flows check_flood_flows
check attach-up check_attach_up
check attach-down check_attach_down
check attach-udp check_attach_up -u -b 40M
check nested check_nested
check entered-namespace check_entered_namespace
check ip-netns-exec check_ip_netns_exec
check set check_set
check group check_group
check scope check_scope
check linger-keep check_linger_keep
check kill-wrapper check_kill_wrapper
check kill-guard check_kill_guard
check kill-both check_kill_both
check kill-both-legacy check_kill_both --attach legacy
check exclusive check_exclusive
check_network
checks_end
