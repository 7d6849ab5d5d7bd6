# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # what transfer.sh reads, and what it sets
# A network that is slow besides its rate, as netem makes it; sourced behind transfer.sh.

# echo_at ADDRESS: sends all back that comes to its port 5500.
echo_at() {
    case $1 in 127.*) side= ;; *) side="nsenter --net=/run/netns/far" ;; esac
    # shellcheck disable=SC2086 # no word, or several
    $side python3 /tests/roundtrip.py serve "$1" 5500 2>"$T/server-errors" &
    later "kill $!"
    wait_for listens $! 5500 || fail "the server doesn't listen"
}

# round_trips ADDRESS COUNT OPTION...: those of a command in a run with these options. Sets connect, stream, datagram (the
# medians, in ms), least and most (of the datagrams').
round_trips() {
    address=$1 count=$2
    shift 2
    if [ "$address" = within ]; then
        words="within 5500"
    else
        echo_at "$address"
        words="measure $address 5500"
    fi
    # shellcheck disable=SC2086 # several words
    timeout -k 5 90 throttle run --stats=json --stats-file "$T/report.json" "$@" -- ${ENTER:-} \
        python3 /tests/roundtrip.py $words "$count" >"$T/trips" 2>"$T/errors" ||
        fail "status $?: $(tail -n 2 "$T/errors")"
    read -r _ connect _ _ stream _ least datagram most missing <"$T/trips"
    note "connect=$connect" "tcp=$stream" "udp=$datagram" "least=$least" "most=$most"
}

# check_rtt ADDRESS MILLISECONDS: by TCP's connect, by echoes of TCP and of UDP; and by ping, unless both ends are the run's.
check_rtt() {
    round_trips "$1" 20 --rtt "$2ms"
    most_ms=$(calculate "$2 * 1.02 + 8")
    within "$2" "$most_ms" "$connect" "what connecting takes, in ms,"
    within "$2" "$most_ms" "$stream" "the round trip by TCP, in ms,"
    within "$2" "$most_ms" "$datagram" "the round trip by UDP, in ms,"
    equal "$missing" 0 "the number of datagrams that were lost"
    equal "$(jq -r '.planes | join("+")' "$T/report.json")" delay "the list of planes"
    [ "$1" = within ] && return
    throttle run --rtt "$2ms" -- ping -c 5 "$1" >"$T/ping" || fail "no ping"
    ping_ms=$(sed -n 's/.*min\/avg\/max = \([0-9.]*\).*/\1/p' "$T/ping")
    note "ping=$ping_ms"
    within "$2" "$most_ms" "$ping_ms" "the round trip by ping, in ms,"
}

# What isn't in the run has the network that it always had.
check_rtt_others() {
    throttle run --rtt 300ms -- sleep 20 &
    later "kill $!"
    sleep 1
    ping -c 5 "$FAR4" >"$T/ping" || fail "no ping"
    within 0 50 "$(sed -n 's/.*min\/avg\/max = \([0-9.]*\).*/\1/p' "$T/ping")" "the round trip of others, in ms,"
}

# Before Linux 5.15 sockets can't be told by their network namespace.
check_rtt_elsewhere() {
    at_least 5.15 || skip "no cookies of network namespaces"
    ENTER="nsenter --net=/run/netns/far" round_trips within 10 --rtt 100ms
    within 100 110 "$stream" "the round trip by TCP, in ms,"
}

# No packet overtakes another.
check_jitter() {
    round_trips "$FAR4" 60 --rtt 80ms --jitter 30ms
    within 50 70 "$least" "the shortest round trip, in ms,"
    within 90 120 "$most" "the longest round trip, in ms,"
    serve "$FAR4"
    throttle run --rtt 80ms --jitter 30ms -- iperf3 -c "$FAR4" -u -b 4M -R -t 4 -J >"$T/iperf.json" || fail "no iperf3"
    disorder=$(jq '.end.streams[0].udp.out_of_order' "$T/iperf.json")
    note "disorder=$disorder"
    equal "$disorder" 0 "the number of datagrams out of order"
}

# check_slow up|down RATE MILLISECONDS [OPTION...]: the limit holds, and no packet is lost, at any round trip.
check_slow() {
    # Whoever sends writes large pieces, a round trip apart.
    OMIT=$((2 + $3 / 150)) SECONDS_LONG=$((4 + $3 / 50))
    direction=$1 rate=$2 ms=$3
    shift 3
    transfer "$direction" "$FAR4" "$rate" --rtt "${ms}ms" "$@"
    note "delay=$delay" "drops=$drops" "retransmits=$retransmits"
    has_plane delay
    within 0.97 1.03 "$ratio" "the ratio"
    equal "$drops" 0 "the number of dropped packets"
}

check_set_rtt() {
    echo_at "$FAR4"
    cat >"$T/script" <<-END
	for _ in 1 2 3 4; do python3 /tests/roundtrip.py measure $FAR4 5500 5; read -r _ <$T/go; done
	END
    mkfifo "$T/go"
    throttle run -d 1M --name slow --stats=json --stats-file "$T/report.json" -- sh "$T/script" >"$T/trips" &
    run=$!
    later "kill $run"
    exec 3>"$T/go"
    for rtt in 0ms 100ms 300ms 50ms; do # before each but the first measurement
        throttle set slow --rtt $rtt >"$T/set" || fail "no set: $(cat "$T/set")"
        echo >&3
        sleep 6
    done
    exec 3>&-
    trips=$(cut -d' ' -f5 <"$T/trips" | cut -d. -f1 | tr '\n' ' ')
    equal "$trips" "0 0 100 300 " "the list of round trips, in ms,"
}

check_loss() {
    echo_at "$FAR4"
    throttle run --loss 20% --rtt 50ms --stats=json --stats-file "$T/report.json" -- \
        python3 /tests/roundtrip.py datagrams "$FAR4" 5500 1000 >"$T/missing" 2>"$T/errors" ||
        fail "status $?: $(tail -n 2 "$T/errors")"
    read -r missing <"$T/missing"
    told=$(jq '.download.lost_packets + .upload.lost_packets' "$T/report.json")
    note "missing=$missing" "told=$told"
    within 300 420 "$missing" "the number of datagrams that were lost, of 1000 (360 are to be),"
    equal "$told" "$missing" "the number that the report tells"
}

# check_profile NAME RTT DOWN UP: what it says, measured, in ms and kbit/s.
check_profile() {
    OMIT=$((3 + $2 / 60))
    round_trips "$FAR4" 5 --profile "$1"
    within "$2" "$(calculate "$2 * 1.05 + 10")" "$connect" "what connecting takes, in ms,"
    for direction in down up; do
        [ $direction = down ] && kbit=$3 || kbit=$4
        SECONDS_LONG=$((6 + 1200 / kbit)) # hundred packets
        transfer $direction "$FAR4" "${kbit}kbit" --profile "$1"
        # What waits at the end hasn't been received.
        [ "$kbit" -lt 100 ] && least=0.93 || least=0.97
        within "$least" 1.03 "$ratio" "the ratio"
    done
}

# thirty: fetches as many files of 10 kB, each by a connection of its own, and prints how many seconds that took.
thirty() {
    cat >"$T/script" <<-END
	. /tests/check.sh
	began=\$(uptime_now)
	for _ in \$(seq 30); do wget -q -O /dev/null http://$FAR4:8080/file || exit 1; done
	calculate "\$(uptime_now) - \$began"
	END
    "$@" sh "$T/script"
}

# check_page NAME RTT DOWN UP: a page of many small files takes as long as with netem on both devices, which all of the
# machine would have; in ms and kbit/s.
check_page() {
    serve_file 10000
    own=$(thirty throttle run --profile "$1" --) || fail "no page"
    tc -n far qdisc add dev far root netem delay "$(($2 / 2))ms" rate "$3kbit" limit 1000 || fail "no netem"
    later "tc -n far qdisc del dev far root"
    tc qdisc add dev near root netem delay "$(($2 / 2))ms" rate "$4kbit" limit 1000 || fail "no netem"
    later "tc qdisc del dev near root"
    device=$(thirty env) || fail "no page by netem"
    note "throttle=$own" "netem=$device"
    # netem has ACKs and headers wait for the rate, too; and HTB lets the first frame after a pause by.
    within "$(calculate "$device * 0.7")" "$(calculate "$device * 1.1")" "$own" "the time of a page, in s,"
}

# In QEMU round trips vary for themselves, so a run in the background has a part of its ceiling.
check_background() {
    SECONDS_LONG=8 OMIT=4
    for direction in down up; do
        transfer $direction "$FAR4" 500k --background
        within 0.05 1.05 "$ratio" "the ratio"
        equal "$drops" 0 "the number of dropped packets"
        [ "$(jq '.background.base_seconds > 0' "$T/report.json")" = true ] || fail "no round trip was timed"
    done
}

check_network() {
    check background check_background
    for rtt in 20 200; do check "rtt-$rtt" check_rtt "$FAR4" $rtt; done
    check rtt-loopback check_rtt 127.0.0.1 100
    check rtt-within check_rtt within 100
    check rtt-others check_rtt_others
    check rtt-elsewhere check_rtt_elsewhere
    check jitter check_jitter
    check slow-down-50 check_slow down 500k 50
    check slow-down-600 check_slow down 500k 600
    check slow-down-2000 check_slow down 200k 2000
    check slow-up-50 check_slow up 500k 50
    check slow-up-600 check_slow up 500k 600
    check slow-up-2000 check_slow up 200k 2000
    check slow-jitter check_slow down 500k 100 --jitter 40ms
    check set-rtt check_set_rtt
    check loss check_loss
    check profile-3g check_profile 3g 150 1600 768
    check profile-dial check_profile dial 60 49 30
    while read -r profile rtt down up; do
        check "page-$profile" check_page "$profile" "$rtt" "$down" "$up"
    done <<-END
	3g 150 1600 768
	3gfast 75 1600 768
	3gslow 200 400 400
	2g 400 280 256
	edge 35 240 200
	cable 14 5000 1000
	dsl 14 1500 384
	4g 85 9000 9000
	lte 35 12000 12000
	dial 60 49 30
	END
    check profile-satellite check_profile satellite 558 25000 3000
}
