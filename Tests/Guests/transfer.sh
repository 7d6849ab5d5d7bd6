# shellcheck shell=sh
# Transfers in runs, and the networks that they go over; sourced behind check.sh.
NEAR4=10.9.0.1 FAR4=10.9.0.2 FAR6=fd09::2
OMIT=1 SECONDS_LONG=4

# A veth pair from here, "near", to a namespace, "far".
make_network() {
    ip link set lo up &&
    ip netns add far &&
    ip link add near type veth peer name far netns far &&
    ip addr add "$NEAR4/24" dev near &&
    ip -6 addr add fd09::1/64 dev near nodad &&
    ip link set near up &&
    ip -n far addr add "$FAR4/24" dev far &&
    ip -n far -6 addr add "$FAR6/64" dev far nodad &&
    ip -n far link set far up &&
    ip -n far link set lo up &&
    # Else a connection starts with what an earlier one has learnt.
    sysctl -q net.ipv4.tcp_no_metrics_save=1
    in_far sysctl -q net.ipv4.tcp_no_metrics_save=1
    wait_for ping -c 1 -W 1 "$FAR4"
}

in_far() { nsenter --net=/run/netns/far "$@"; }

# listens PID PORT: by TCP, or by UDP where it is connected to nobody.
listens() {
    grep -q ":$(printf %04X "$2") .* 0A " "/proc/$1/net/tcp" "/proc/$1/net/tcp6" ||
        grep -q ":$(printf %04X "$2") 00000000:0000 07 " "/proc/$1/net/udp"
}

# serve ADDRESS [PORT]: serves one iperf3 there; ended with the check.
serve() {
    port=${2:-5201}
    case $1 in
    127.* | ::1 | "$NEAR4") iperf3 -s -1 -p "$port" >/dev/null 2>&1 & ;;
    *) nsenter --net=/run/netns/far iperf3 -s -1 -p "$port" >/dev/null 2>&1 & ;;
    esac
    later "kill $!"
    wait_for listens $! "$port" || fail "the server doesn't listen"
}

# serve_file BYTES: far serves one of them, http://$FAR4:8080/file; ended with the check.
serve_file() {
    mkdir -p /tmp/www
    head -c "$1" /dev/zero >/tmp/www/file
    nsenter --net=/run/netns/far busybox httpd -f -p 8080 -h /tmp/www &
    later "kill $!"
    wait_for listens $! 8080 || fail "the server doesn't listen"
}

# transfer down|up ADDRESS RATE [OPTION...]: an iperf3 in a run with these options, with the congestion control CONTROL
# and FLOWS connections, started by the words ENTER, and programs attached by ATTACH. Sets what `measure` does.
transfer() {
    direction=$1 address=$2 rate=$3
    shift 3
    serve "$address"
    [ "$direction" = down ] && reverse=-R || reverse=
    # shellcheck disable=SC2086 # no word, or several
    timeout -k 5 90 throttle run "--$direction" "$rate" --stats=json --stats-file "$T/report.json" \
        ${ATTACH:+--attach $ATTACH} "$@" -- ${ENTER:-} iperf3 -c "$address" -J $reverse -O "$OMIT" -t "$SECONDS_LONG" \
        -P "${FLOWS:-1}" -C "${CONTROL:-cubic}" >"$T/iperf.json" 2>"$T/errors" </dev/null
    status=$?
    [ "$status" = 0 ] || fail "status $status: $(jq -r .error "$T/iperf.json" 2>&1) $(tail -n 2 "$T/errors")"
    measure
}

# Sets ratio (what the receiver got to the limit), retransmits, drops (of police and queue), delay (in the queue, ms)
# and planes.
measure() {
    jq -nr --slurpfile report "$T/report.json" --slurpfile iperf "$T/iperf.json" --arg direction "$direction" '
        $report[0] as $run | $iperf[0].end as $totals | $run[$direction + "load"] as $side |
        [$totals.sum_received.bits_per_second / 8 / $side.limit_bytes_per_second * 1000 | round / 1000,
        $totals.sum_sent.retransmits, $side.dropped_packets + ($side.queue_dropped_packets // 0),
        ($side.queue_delay_average_seconds // 0 | . * 1000 | round), $side.verdict, $run.attach_method,
        $totals.sender_tcp_congestion, ($run.planes | join("+"))] | join(" ")' >"$T/measured" || fail "no figures"
    read -r ratio retransmits drops delay verdict attached sender planes <"$T/measured"
    note "ratio=$ratio"
    equal "$verdict" throttled "the verdict"
    equal "$attached" "${ATTACH:-link}" "how programs were attached"
    equal "$sender" "${CONTROL:-cubic}" "the congestion control"
}

# stream send|receive tcp|mptcp RATE [OPTION...]: 3 seconds' worth of zeros in a run with these options, to or from far,
# by a command that the words ENTER start. Sets connect (in ms), deferred (packets of the upload), and of what `measure` does: ratio, drops, delay, planes.
stream() {
    way=$1 protocol=$2 rate=$3
    shift 3
    [ "$way" = send ] && direction=up there=receive || direction=down there=send
    bytes=$((${rate%k} * 3000))
    nsenter --net=/run/netns/far python3 /tests/stream.py serve "$there" "$FAR4" 5300 "$protocol" $bytes \
        2>"$T/server-errors" &
    later "kill $!"
    wait_for listens $! 5300 || fail "the server doesn't listen: $(tail -n 1 "$T/server-errors")"
    # shellcheck disable=SC2086 # no word, or several
    timeout -k 5 60 throttle run "--$direction" "$rate" --stats=json --stats-file "$T/report.json" "$@" -- \
        ${ENTER:-} python3 /tests/stream.py connect "$way" "$FAR4" 5300 "$protocol" $bytes >"$T/stream" 2>"$T/errors" ||
        fail "status $?: $(tail -n 2 "$T/errors")"
    read -r connect moved <"$T/stream"
    equal "$moved" $bytes "the number of bytes"
    jq -r --arg direction "$direction" '.[$direction + "load"] as $side |
        [$side.achieved_ratio, $side.dropped_packets + ($side.queue_dropped_packets // 0),
        ($side.queue_delay_average_seconds // 0 | . * 1000 | round), .upload.deferred_packets,
        (.planes | join("+"))] | join(" ")' "$T/report.json" >"$T/measured" || fail "no figures"
    # shellcheck disable=SC2034 # deferred: for checks
    read -r ratio drops delay deferred planes <"$T/measured"
    note "ratio=$(calculate "$ratio")" "connect=$connect"
}

# flood ADDRESS RATE FLOW... [-- WORD...]: an upload of 4 seconds by UDP in a run with this limit, with flows as those of
# datagrams.py, beside a command of these words. Sets ratio (of all flows), drops (of police and queue), delay (in the
# queue, ms), came (datagrams), lost (on the way) and planes; $T/flows has what the receiver found.
flood() {
    address=$1 rate=$2 flows=
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        flows="$flows $1"
        shift
    done
    if [ $# = 0 ]; then set -- true; else shift; fi
    case $address in 127.*) side= ;; *) side="nsenter --net=/run/netns/far" ;; esac
    # shellcheck disable=SC2086 # no word, or several
    $side python3 /tests/datagrams.py receive "$address" 5400 4 >"$T/received" 2>"$T/receiver-errors" &
    receiver=$!
    later "kill $receiver"
    wait_for listens $receiver 5400 || fail "the receiver doesn't listen: $(tail -n 1 "$T/receiver-errors")"
    cat >"$T/script" <<-END
	"\$@" >$T/beside &
	python3 /tests/datagrams.py send $address 5400 4 $flows >$T/sent && wait \$!
	END
    timeout -k 5 60 throttle run --up "$rate" --stats=json --stats-file "$T/report.json" -- \
        sh "$T/script" "$@" 2>"$T/errors" </dev/null || fail "status $?: $(tail -n 2 "$T/errors")"
    wait $receiver || fail "nothing came: $(tail -n 1 "$T/receiver-errors")"
    { read -r came && cat >"$T/flows"; } <"$T/received"
    lost=$(($(cat "$T/sent") - came))
    jq -r --slurpfile rates "$T/flows" '.upload as $side | [([$rates | range(0; length; 3) as $at | $rates[$at]] | add) /
        $side.limit_bytes_per_second, $side.dropped_packets + $side.queue_dropped_packets,
        ($side.queue_delay_average_seconds // 0 | . * 1000 | round), (.planes | join("+"))] | join(" ")' \
        "$T/report.json" >"$T/measured" || fail "no figures"
    read -r ratio drops delay planes <"$T/measured"
    note "ratio=$(calculate "$ratio")" "delay=$delay" "drops=$drops" "lost=$lost"
}

# Such a run drops nothing: what is over the limit waits. Where it adds clsact, the kernel drops what the device is to send
# meanwhile.
queued() {
    flood "$@"
    has_plane queue
    equal "$drops" 0 "the number of dropped packets"
    at_least 6.6 && most=0 || most=3
    within 0 "$most" "$lost" "the number of lost datagrams"
}

# report_of up|down: sets ratio (by the run's own count), and drops, delay and planes as `measure` does.
report_of() {
    jq -r --arg direction "$1" '.[$direction + "load"] as $side | [$side.achieved_ratio,
        $side.dropped_packets + ($side.queue_dropped_packets // 0),
        ($side.queue_delay_average_seconds // 0 | . * 1000 | round), $side.verdict,
        (.planes | join("+"))] | join(" ")' "$T/report.json" >"$T/measured" ||
        fail "no figures: $(tail -n 2 "$T/errors")"
    read -r ratio drops delay verdict planes <"$T/measured"
    note "ratio=$(calculate "$ratio")" "drops=$drops" "delay=$delay"
    equal "$verdict" throttled "the verdict"
}

# rates_of FILE: sets before, least and after from an iperf3's intervals: MB/s in one of the first three, in all but the
# slowest fifth (QEMU may let a CPU stand still for a second), and in one of the last three.
rates_of() {
    jq -r '[.intervals[].sum.bits_per_second / 8e6 * 1000 | round / 1000] |
        "\(.[:3] | max) \(sort[length / 5 | floor]) \(.[-3:] | max)"' "$1" >"$T/rates" ||
        fail "no rates: $(head -c 400 "$1")"
    # shellcheck disable=SC2034 # least: for checks
    read -r before least after <"$T/rates"
}

# As fast as it was, and that was far over the limit of 1 MB/s.
full_speed_again() {
    note "before=$before" "after=$after"
    within 4 1000000 "$before" "the rate before, in MB/s,"
    within "$(calculate "$before / 2")" 1000000 "$after" "the rate afterwards, in MB/s,"
}

# attach up|down [OPTION...]: an iperf3 with these options that runs already is limited for 4 seconds, and then goes on
# as before. Sets what report_of does.
attach() {
    direction=$1
    shift
    [ "$direction" = down ] && reverse=-R || reverse=
    serve "$FAR4"
    # shellcheck disable=SC2086 # no word, or one
    iperf3 -c "$FAR4" -J -i 0.5 -t 10 $reverse "$@" >"$T/iperf.json" 2>&1 </dev/null &
    client=$!
    later "kill $client"
    sleep 2
    home=$(cat "/proc/$client/cgroup")
    timeout -k 5 60 throttle run "--$direction" 1M -p $client --for 4s --stats=json --stats-file "$T/report.json" \
        2>"$T/errors" || fail "status $?: $(tail -n 2 "$T/errors")"
    equal "$(cat "/proc/$client/cgroup")" "$home" "the cgroup afterwards"
    wait $client || fail "iperf3: $(jq -r .error "$T/iperf.json")"
    report_of "$direction"
    equal "$(jq -r .attached_to "$T/report.json")" "process $client" "what the run was attached to"
    rates_of "$T/iperf.json"
    full_speed_again
}

has_plane() {
    case +$planes+ in
    *"+$1+"*) ;;
    *) fail "no $1 among the planes $planes: $(jq -r .shape_obstacle "$T/report.json")" ;;
    esac
}

# A download by the queue loses nothing, and comes in at the limit.
shaped() {
    transfer down "$@"
    note "retransmits=$retransmits" "delay=$delay"
    has_plane shape
    within 0.95 1.05 "$ratio" "the ratio"
    equal "$drops" 0 "the number of dropped packets"
}

# An upload by pace loses nothing.
paced() {
    transfer up "$@"
    note "retransmits=$retransmits"
    has_plane pace
    within 0.95 1.05 "$ratio" "the ratio"
    equal "$retransmits" 0 "the number of retransmits"
}

policed() {
    transfer down "$@" --mode police
    note "drops=$drops"
    equal "$planes" "$(echo "$planes" | sed 's/+shape//')" "the list of planes"
    within 0.8 1.2 "$ratio" "the ratio"
}
