# shellcheck shell=bash
# bash completion of throttle(1): its options and their values, then whatever the command itself completes.
# Needs bash-completion, which loads it.

_throttle_value() {
    case $1 in
    -d | --down | -u | --up) mapfile -t COMPREPLY < <(compgen -W '50k 500k 1M 10M 10mbit unlimited' -- "$cur") ;;
    --burst) mapfile -t COMPREPLY < <(compgen -W '200ms 500ms 1s' -- "$cur") ;;
    --count) mapfile -t COMPREPLY < <(compgen -W 'payload wire' -- "$cur") ;;
    --scope) mapfile -t COMPREPLY < <(compgen -W 'all internet local' -- "$cur") ;;
    --except | --only) mapfile -t COMPREPLY < <(compgen -W '10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7' -- "$cur") ;;
    --mode) mapfile -t COMPREPLY < <(compgen -W 'auto shape police' -- "$cur") ;;
    --linger) mapfile -t COMPREPLY < <(compgen -W 'keep wait release kill' -- "$cur") ;;
    --attach) mapfile -t COMPREPLY < <(compgen -W 'auto link legacy' -- "$cur") ;;
    -g | --group) mapfile -t COMPREPLY < <(compgen -W "$(_throttle_groups)" -- "$cur") ;;
    --stats) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur") ;;
    --user) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
    --cgroup-parent | --cgroup) _filedir -d ;;
    -p | --pid) mapfile -t COMPREPLY < <(compgen -W "$(ps -eo pid= 2>/dev/null)" -- "$cur") ;;
    --rtt) mapfile -t COMPREPLY < <(compgen -W '20ms 100ms 300ms' -- "$cur") ;;
    --jitter) mapfile -t COMPREPLY < <(compgen -W '5ms 20ms 50ms' -- "$cur") ;;
    --loss) mapfile -t COMPREPLY < <(compgen -W '0.1% 1% 5%' -- "$cur") ;;
    --profile) mapfile -t COMPREPLY < <(compgen -W "$(_throttle_profiles)" -- "$cur") ;;
    --quota) mapfile -t COMPREPLY < <(compgen -W '10M 100M 1G' -- "$cur") ;;
    --kill-after) mapfile -t COMPREPLY < <(compgen -W '5s 10s 30s' -- "$cur") ;;
    --for) mapfile -t COMPREPLY < <(compgen -W '30s 10m 1h' -- "$cur") ;;
    --unit) mapfile -t COMPREPLY < <(compgen -W "$(_throttle_units)" -- "$cur") ;;
    --user-unit) mapfile -t COMPREPLY < <(compgen -W "$(_throttle_units --user)" -- "$cur") ;;
    --stats-file) _filedir ;;
    esac
}

# The ids and names of live runs; only plain ones, as compgen -W expands what it is given.
_throttle_runs() {
    "${words[0]}" list 2>/dev/null | awk 'NR > 1 { print $1; print $2 }' | grep -xE '[A-Za-z0-9._-]+'
}

_throttle_units() {
    systemctl "$@" list-units --type=service,scope,slice --no-legend --plain 2>/dev/null | awk '{ print $1 }' |
        grep -xE '[A-Za-z0-9@:._-]+'
}

_throttle_groups() {
    "${words[0]}" group list --names 2>/dev/null
}

_throttle_profiles() {
    "${words[0]}" profiles --names 2>/dev/null
}

# The options of list, stats, set, group, profiles, cleanup and doctor; and which run or group.
_throttle_other() {
    case $1 in
    list | ps) mapfile -t COMPREPLY < <(compgen -W '--json --help' -- "$cur") ;;
    doctor | profiles) mapfile -t COMPREPLY < <(compgen -W '--json --help' -- "$cur") ;;
    cleanup) mapfile -t COMPREPLY < <(compgen -W '--dry-run --json --help' -- "$cur") ;;
    group)
        if [[ $prev == @(-d|-u|--down|--up) ]]; then
            _throttle_value "$prev"
        elif ((cword == 2)); then
            mapfile -t COMPREPLY < <(compgen -W 'create list ls delete --help' -- "$cur")
        elif [[ ${words[2]} == delete && $cur != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_throttle_groups)" -- "$cur")
        elif [[ ${words[2]} == create ]]; then
            mapfile -t COMPREPLY < <(compgen -W '--down --up --help' -- "$cur")
        elif [[ ${words[2]} == @(list|ls) ]]; then
            mapfile -t COMPREPLY < <(compgen -W '--json --help' -- "$cur")
        fi
        ;;
    *)
        if [[ $1 == set && $prev == @(-d|-u|-g|--down|--up|--group|--rtt|--jitter|--loss) ]]; then
            _throttle_value "$prev"
        elif [[ $1 == set && $cur == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W '--down --up --group --rtt --jitter --loss --background --no-background --help' -- "$cur")
        elif [[ $cur == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W '--watch --json --help' -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -W "$(_throttle_runs)" -- "$cur")
        fi
        ;;
    esac
}

_throttle() {
    local cur prev words cword i=1 option options=(
        --down --up --group --background --quota --kill-after --rtt --jitter --loss --profile --burst --count --scope --except --only --mode
        --linger --attach --cgroup-parent --name --pid --cgroup --unit --user-unit --for --user --systemd --best-effort --progress --stats --stats-file
        --verbose --debug --quiet --help
    )
    _init_completion || return
    if [[ ${words[1]} == help ]] && ((cword > 1)); then
        mapfile -t COMPREPLY < <(compgen -W 'run list ps stats set group profiles cleanup doctor' -- "$cur")
        return
    fi
    if [[ ${words[1]} == @(list|ps|stats|set|group|profiles|cleanup|doctor) ]] && ((cword > 1)); then
        _throttle_other "${words[1]}"
        return
    fi
    [[ ${words[1]} == run ]] && ((cword > 1)) && i=2
    # Up to the command. A `=` is a word of its own here, as readline splits words at it.
    for (( ; i < cword; i++)); do
        option=${words[i]}
        case $option in
        --)
            _command_offset $((i + 1))
            return
            ;;
        -d | -u | -g | --down | --up | --group | --quota | --kill-after | --rtt | --jitter | --loss | --profile | --burst | --count | --scope | --except | --only | --mode | --linger | --attach | --cgroup-parent | --name | -p | --pid | --cgroup | --unit | --user-unit | --for | --user | --stats-file | --stats)
            if [[ ${words[i + 1]} == '=' ]]; then
                ((i++))
                [[ $cur == '=' ]] && cur=
            elif [[ $option == --stats ]]; then
                continue
            fi
            if ((++i >= cword)); then
                _throttle_value "$option"
                return
            fi
            ;;
        -*) ;;
        *)
            _command_offset "$i"
            return
            ;;
        esac
    done
    if [[ $cur == -* ]]; then
        ((cword == 1)) && options+=(--version)
        mapfile -t COMPREPLY < <(compgen -W "${options[*]}" -- "$cur")
        return
    fi
    _command_offset "$cword"
    ((cword == 1)) && mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W 'run list ps stats set group profiles cleanup doctor help' -- "$cur")
    return 0
}

complete -F _throttle throttle
