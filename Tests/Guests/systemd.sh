#!/bin/sh
# The checks of a host with systemd, whose cgroups are its own to divide: which ways a run can be started there.
# shellcheck source=Tests/Guests/check.sh
. /tests/check.sh
# shellcheck source=Tests/Guests/transfer.sh
. /tests/transfer.sh
exec >/dev/console 2>&1

# systemd's own devices, programs and cgroups come and go.
state_of_cgroups() { find /sys/fs/cgroup -type d -name 'throttle-*'; }

# As the user, in a session that PAM opens, as at a login.
login() { su -l alice -c "$1"; }

# achieved FILE: the run's report says that it held its limit, by the planes that root's have.
achieved() {
    [ -s "$1" ] || fail "no report: $(cat "$T/errors")"
    ratio=$(jq .download.achieved_ratio "$1")
    note "ratio=$(calculate "$ratio")" "planes=$(jq -r '.planes | join("+")' "$1")"
    within 0.9 1.1 "$ratio" "the ratio"
    equal "$(jq -r .download.verdict "$1")" throttled "the verdict"
    jq -e '.planes | index("shape")' "$1" >/dev/null || fail "no shape: $(jq -r .shape_obstacle "$1")"
}

# What all of these do: 1 MB over loopback at 400 kB/s, and a word of where. Its first word is the report's file.
FETCH='wget -q -O /dev/null http://127.0.0.1:8080/file && cat /proc/self/cgroup'

run_words() { echo "throttle run -d 400k --stats=json --stats-file $T/report.json $*"; }

ran_in() { grep -q "$1" "$T/cgroup" || fail "it ran in: $(cat "$T/cgroup" "$T/errors")"; }

check_boot() {
    systemctl is-system-running >"$T/state"
    note "systemd=$(cat "$T/state")" "kernel=$(uname -r)"
    systemctl --failed --plain --no-legend
    equal "$(cat /proc/1/comm)" systemd "process 1"
    [ -S /run/user/1000/bus ] || fail "alice has no bus: $(ls /run/user/1000 2>&1)"
}

# In a session's scope alice may not make cgroups; the doctor says what helps, and so does a run.
check_doctor_of_session() {
    doctor login "throttle doctor --json"
    equal "$status" 2 "the status"
    jq -r '.findings[] | select(.area == "delegation") | "\(.level) \(.text) \(.advice)"' "$T/doctor" >"$T/delegation"
    contains "$T/delegation" broken
    contains "$T/delegation" --systemd
    login "throttle run -d 400k -- true" 2>"$T/errors"
    equal $? 125 "the status of a run"
    contains "$T/errors" --systemd
}

check_doctor_in_scope() {
    doctor login "systemd-run --user --scope --quiet -p Delegate=yes throttle doctor --json"
    equal "$(jq -r '.findings[] | select(.level == "broken").area' "$T/doctor")" "" "what is broken"
}

check_user_systemd() {
    login "$(run_words --systemd -- sh -c "'$FETCH'")" >"$T/cgroup" 2>"$T/errors"
    equal $? 0 "the status ($(cat "$T/errors"))"
    ran_in '/user@1000.service/.*run-.*\.scope/throttle-[0-9-]*/run$'
    achieved "$T/report.json"
}

check_user_status() {
    login "throttle run --systemd -d 400k -- sh -c 'exit 7'" 2>"$T/errors"
    equal $? 7 "the status ($(cat "$T/errors"))"
}

# Without a session, as a timer or another service would.
check_user_service() {
    systemd-run --machine=alice@.host --user --quiet --wait --pipe -p Delegate=yes -- \
        sh -c "exec $(run_words -- sh -c "'$FETCH'")" >"$T/cgroup" 2>"$T/errors"
    equal $? 0 "the status ($(cat "$T/errors"))"
    ran_in '/user@1000.service/.*run-.*\.service/throttle-[0-9-]*/run$'
    achieved "$T/report.json"
}

check_user_steers() {
    login "throttle run --systemd -d 400k --name mine -- sleep 60" 2>"$T/errors" &
    later "pkill -x sleep"
    wait_for sh -c "su -l alice -c 'throttle list --json' | grep -q mine" || fail "not listed: $(cat "$T/errors")"
    login "throttle set mine -d 100k" >"$T/set" 2>&1 || fail "set: $(cat "$T/set")"
    throttle list >"$T/list"
    contains "$T/list" "of 100.0 kB/s"
}

check_root_service() {
    cat >/run/systemd/system/limited.service <<-END
	[Service]
	Type=oneshot
	ExecStart=$(run_words -- sh -c "'$FETCH'")
	StandardOutput=file:$T/cgroup
	StandardError=file:$T/errors
	END
    later "rm /run/systemd/system/limited.service; systemctl daemon-reload"
    systemctl daemon-reload
    systemctl start limited.service || fail "it failed: $(cat "$T/errors")"
    ran_in '^0::/system.slice/limited.service/throttle-[0-9-]*/run$'
    achieved "$T/report.json"
}

# `systemctl stop` ends the command, and the run with it.
check_root_service_stopped() {
    systemd-run --quiet --unit=stopped -- throttle run -d 400k -- sleep 100 || fail "can't start it"
    wait_for sh -c 'throttle list --json | grep -q sleep' || fail "not listed"
    systemctl stop stopped.service
    note "result=$(systemctl show -P Result stopped.service)"
}

# A unit whose control group systemd kills whole, the guard too.
check_root_service_killed() {
    systemd-run --quiet --unit=killed -- throttle run -d 400k -- sleep 100 || fail "can't start it"
    wait_for sh -c 'throttle list --json | grep -q window' || fail "not listed"
    systemctl kill --signal=KILL killed.service
    sleep 1
    throttle cleanup || fail "cleanup: status $?"
}

check_root_scope() {
    # shellcheck disable=SC2046 # words
    systemd-run --scope --quiet -p Delegate=yes $(run_words --) sh -c "$FETCH" >"$T/cgroup" 2>"$T/errors"
    equal $? 0 "the status ($(cat "$T/errors"))"
    ran_in '^0::/system.slice/run-.*\.scope/throttle-[0-9-]*/run$'
    achieved "$T/report.json"
}

check_root_systemd() {
    # shellcheck disable=SC2046 # words
    $(run_words --systemd --) sh -c "$FETCH" >"$T/cgroup" 2>"$T/errors"
    equal $? 0 "the status ($(cat "$T/errors"))"
    ran_in '^0::/system.slice/run-.*\.scope/throttle-[0-9-]*/run$'
    achieved "$T/report.json"
}

# su with pam_systemd leaves the run's cgroup: the report says so.
check_su_leaves() {
    throttle run -d 400k -- su -l alice -c "wget -q -O /dev/null http://127.0.0.1:8080/small" 2>"$T/errors"
    contains "$T/errors" "NOT THROTTLED: the command left the run's cgroup"
}

check_user_option() {
    # shellcheck disable=SC2046 # words
    $(run_words --user alice --) sh -c "id -un && $FETCH" >"$T/cgroup" 2>"$T/errors"
    equal $? 0 "the status ($(cat "$T/errors"))"
    equal "$(head -n 1 "$T/cgroup")" alice "the user"
    achieved "$T/report.json"
}

# check_unit FUNCTION OPTION [--user]: a unit that sends already is limited for a while, and goes on as before; another
# isn't limited, and ends first, as they compete for CPUs. The function, eval or login, runs a line as who they belong to.
check_unit() {
    as=$1 option=$2 manager=${3:-}
    later "$as 'systemctl $manager stop limited other'"
    pids=
    for name in limited other; do
        [ $name = limited ] && port=5201 long=18 || port=5202 long=10
        serve 127.0.0.1 "$port"
        "$as" "systemd-run $manager --quiet --collect --wait --pipe --unit=$name \
            iperf3 -c 127.0.0.1 -p $port -J -i 0.5 -t $long" >"$T/$name.json" 2>"$T/errors-$name" </dev/null &
        pids="$pids $!"
        wait_for "$as" "systemctl $manager is-active $name" || fail "not active: $(cat "$T/errors-$name")"
    done
    sleep 1
    "$as" "${manager:+systemd-run --user --scope --quiet -p Delegate=yes} throttle run -u 1M $option limited --for 4s \
        --stats=json --stats-file $T/report.json" 2>"$T/errors" || fail "status $?: $(tail -n 2 "$T/errors")"
    for pid in $pids; do wait "$pid" || fail "status $? of a unit: $(cat "$T"/errors-*)"; done
    report_of up
    within 0.85 1.15 "$ratio" "the ratio"
    equal "$(jq -r .attached_to "$T/report.json")" "${manager:+user }unit limited" "what the run was attached to"
    rates_of "$T/other.json"
    note "other=$least"
    within 4 1000000 "$least" "the other's rate, in MB/s,"
    rates_of "$T/limited.json"
    full_speed_again
}

ip link set lo up
mkdir -p /tmp/www
head -c 1000000 /dev/zero >/tmp/www/file
head -c 1000 /dev/zero >/tmp/www/small
busybox httpd -p 127.0.0.1:8080 -h /tmp/www
setcap cap_bpf,cap_net_admin,cap_perfmon+ep /usr/bin/throttle || exit 1
loginctl enable-linger alice
wait_for test -S /run/user/1000/bus

check boot check_boot
check doctor-root check_ready
check doctor-session check_doctor_of_session
check doctor-scope check_doctor_in_scope
check user-systemd check_user_systemd
check user-status check_user_status
check user-service check_user_service
check user-steers check_user_steers
check root-service check_root_service
check root-service-stopped check_root_service_stopped
check root-service-killed check_root_service_killed
check root-scope check_root_scope
check root-systemd check_root_systemd
check su-leaves check_su_leaves
check user-option check_user_option
check unit check_unit eval --unit
check user-unit check_unit login --user-unit --user
checks_end
