# shellcheck shell=sh
# What all checks use; sourced, by dash. A check is a function; `check NAME FUNCTION [ARGUMENT...]` runs it in a process
# of its own and writes one line for scripts/test-kernels. It fails if the function calls `fail`, or if it leaves
# anything of a run behind; where the kernel has nothing for it, the function calls `skip`.
set -u
T=/tmp/check
CHECKS=0
ONLY=${ONLY:-*}
# Checks that are known to fail here; they are told, but are no failure.
KNOWN=

# The check that runs ends, and has failed.
fail() {
    echo "$*" >"$T/why"
    exit 1
}

# The check that runs ends, as it can't be done here.
skip() {
    echo "$*" >"$T/why"
    exit 77
}

# Adds NAME=VALUE words to the figures that are told.
note() { echo "$*" >>"$T/figures"; }

# Does this when the check ends, however it ends; the last first.
later() { echo "$*" >>"$T/undo"; }

# Waits for at most 10 seconds until the words succeed.
wait_for() {
    for _ in $(seq 100); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

uptime_now() { cut -d' ' -f1 /proc/uptime; }

calculate() { awk "BEGIN { printf \"%.3f\", $1 }"; }

# within LEAST MOST VALUE WHAT
within() { awk "BEGIN { exit !($3 >= $1 && $3 <= $2) }" || fail "$4 is $3, not within $1 and $2"; }

equal() { [ "$1" = "$2" ] || fail "$3 is '$1', not '$2'"; }

contains() { grep -qF -e "$2" "$1" || fail "'$2' isn't in: $(head -c 400 "$1" | tr '\n\t' '; ')"; }

# All that a run may leave: programs, devices, queues, filters, cgroups, records, processes.
state() {
    bpftool prog list 2>/dev/null | grep -o 'name throttle[^ ]*' | sort
    bpftool link list 2>/dev/null | grep -c .
    for namespace in "" $(ip netns list | cut -d' ' -f1); do
        # shellcheck disable=SC2086 # no word, or two
        ip ${namespace:+-n $namespace} -o link | cut -d: -f2
        # shellcheck disable=SC2086
        tc ${namespace:+-n $namespace} qdisc show | sed 's/ refcnt.*//'
    done
    for device in $(ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do
        tc filter show dev "$device" ingress 2>/dev/null
        tc filter show dev "$device" egress 2>/dev/null
    done
    state_of_cgroups
    find /run/throttle ! -type d 2>/dev/null
    pidof throttle
}

state_of_cgroups() { find /sys/fs/cgroup -type d | sort; }

state_is() {
    state >"$T/after"
    cmp -s "$T/before" "$T/after"
}

undo() {
    [ -f "$T/undo" ] && tac "$T/undo" | while read -r line; do eval "$line"; done
}

# doctor COMMAND...: prints what a `throttle doctor --json` finds into $T/doctor. Sets status.
doctor() {
    "$@" >"$T/doctor" 2>"$T/errors"
    status=$?
    cat "$T/doctor"
    jq -r '.findings[] | "\(.level)\t\(.area): \(.text) \(.advice // "")"' "$T/doctor"
    note "status=$status" "verdict=$(jq -r .verdict "$T/doctor")"
    equal "$status" "$(jq '{ready: 0, degraded: 1, broken: 2}[.verdict]' "$T/doctor")" "the doctor's status"
}

check_ready() {
    doctor throttle doctor --json
    equal "$status" 0 "the doctor's status"
}

check() {
    name=$1
    shift
    # shellcheck disable=SC2254 # a pattern
    case $name in $ONLY) ;; *) return 0 ;; esac
    rm -rf "$T"
    mkdir -p "$T"
    chmod 777 "$T"
    state >"$T/before"
    echo "# $name"
    began=$(uptime_now)
    ("$@")
    status=$?
    undo >/dev/null 2>&1
    [ "$status" = 77 ] && status=0 result=skipped || result=ok
    if [ "$status" = 0 ] && ! wait_for state_is; then
        status=1
        echo "left behind: $(diff "$T/before" "$T/after" | grep '^[-+][^-+]' | tr '\n\t' '; ')" >"$T/why"
    fi
    [ "$status" = 0 ] || result=FAILED
    case " $KNOWN " in *" $name "*) [ "$status" = 0 ] || result=known ;; esac
    [ "$status" = 0 ] || cat "$T/errors" 2>/dev/null
    CHECKS=$((CHECKS + 1))
    printf '@\t%s\t%s\t%s\t%s\t%s\n' "$name" "$result" "$(calculate "$(uptime_now) - $began")" \
        "$(told figures)" "$(told why)"
}

told() { [ -f "$T/$1" ] && tr '\n\t' '  ' <"$T/$1"; }

# The guest's last line.
checks_end() { printf '@end\t%s\n' "$CHECKS"; }
