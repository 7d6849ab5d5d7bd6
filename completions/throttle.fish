# fish completion of throttle(1): its options and their values, then whatever the command itself completes.

# Prints the words from the command's name to the cursor; fails where the command isn't reached yet.
function __throttle_command
    set -l words (commandline -cop)[2..] (commandline -ct)
    set -q words[2]; and contains -- "$words[1]" help list ps stats set group profiles cleanup doctor; and return 1
    set -q words[2]; and test "$words[1]" = run; and set -e words[1]
    while set -q words[2]
        switch $words[1]
            case --
                set -e words[1]
                break
            case -d -u -g -p --down --up --group --pid --cgroup --unit --user-unit --for --burst --count --scope --except --only --mode --linger --attach --cgroup-parent --name --user --stats-file --quota --kill-after --rtt --jitter --loss --profile
                set -q words[3]; or return 1
                set -e words[1..2]
            case '-*'
                set -e words[1]
            case '*'
                break
        end
    end
    # A word that starts with a dash is the command's only behind a `--`.
    string match -q -- '-*' "$words[1]"; and return 1
    echo "$words"
end

function __throttle_is_first
    test (count (commandline -cop)) -eq 1
end

# Whether the subcommand is one of these.
function __throttle_is
    set -l words (commandline -cop)
    set -q words[2]; and contains -- "$words[2]" $argv
end

# The ids and names of live runs.
function __throttle_runs
    set -l words (commandline -cop)
    set -q words[3]; and not string match -q -- '-*' $words[3..]; and return
    $words[1] list 2>/dev/null | string match -rg '^(\d\S*)\s+(\S+)'
end

function __throttle_groups
    set -l words (commandline -cop)
    $words[1] group list --names 2>/dev/null
end

function __throttle_profiles
    set -l words (commandline -cop)
    $words[1] profiles --names 2>/dev/null
end

# Whether this is `throttle group` and one of these; `first`: nothing behind it yet.
function __throttle_is_group
    set -l words (commandline -cop)
    test "$words[2]" = group; or return 1
    if test "$argv" = first
        test (count $words) -eq 2
    else
        contains -- "$words[3]" $argv
    end
end

# Whether the options of a run may follow.
function __throttle_is_run
    not __throttle_is list ps stats set group profiles cleanup doctor; and not __throttle_command
end

function __throttle_is_help
    set -l words (commandline -cop)
    test "$words" = 'throttle help'
end

set -l networks '10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7'
set -l rtts '20ms 100ms 300ms'
set -l jitters '5ms 20ms 50ms'
set -l losses '0.1% 1% 5%'
set -l rates '50k 500k 1M 10M 10mbit unlimited'
complete -c throttle -f
complete -c throttle -n __throttle_command -a '(complete -C (__throttle_command))'
complete -c throttle -n __throttle_is_first -a run -d 'Run a command with limited bandwidth'
complete -c throttle -n __throttle_is_first -a 'list ps' -d 'List live runs'
complete -c throttle -n __throttle_is_first -a stats -d 'Report on a live run'
complete -c throttle -n __throttle_is_first -a set -d 'Change the limits of a live run'
complete -c throttle -n __throttle_is_first -a group -d 'Create, list and delete groups'
complete -c throttle -n __throttle_is_first -a profiles -d 'List the networks that --profile knows'
complete -c throttle -n __throttle_is_first -a cleanup -d 'Remove what killed runs left'
complete -c throttle -n __throttle_is_first -a doctor -d 'Say whether throttle can work here'
complete -c throttle -n __throttle_is_first -a help -d 'Show help'
complete -c throttle -n __throttle_is_help -a 'run list ps stats set group profiles cleanup doctor'
complete -c throttle -n __throttle_is_first -l version -d 'Show the version'

complete -c throttle -n '__throttle_is cleanup' -s n -l dry-run -d 'Only say what would be removed'
complete -c throttle -n '__throttle_is cleanup' -l json -d 'Print one JSON object'
complete -c throttle -n '__throttle_is cleanup' -l help -d 'Show help'
complete -c throttle -n '__throttle_is doctor profiles' -l json -d 'Print one JSON object'
complete -c throttle -n '__throttle_is doctor profiles' -l help -d 'Show help'

complete -c throttle -n '__throttle_is_group first' -a 'create list ls delete'
complete -c throttle -n '__throttle_is_group create' -s d -l down -x -a $rates -d 'Limit downloads'
complete -c throttle -n '__throttle_is_group create' -s u -l up -x -a $rates -d 'Limit uploads'
complete -c throttle -n '__throttle_is_group delete' -a '(__throttle_groups)' -d Group
complete -c throttle -n '__throttle_is_group list ls' -l json -d 'Print one JSON object'
complete -c throttle -n '__throttle_is group' -l help -d 'Show help'

complete -c throttle -n '__throttle_is list ps' -l json -d 'Print one JSON object'
complete -c throttle -n '__throttle_is list ps' -l help -d 'Show help'
complete -c throttle -n '__throttle_is stats set' -k -a '(__throttle_runs)' -d 'Live run'
complete -c throttle -n '__throttle_is stats' -s w -l watch -d 'Again each second, until the run ends'
complete -c throttle -n '__throttle_is stats' -l json -d 'Print JSON'
complete -c throttle -n '__throttle_is stats set' -l help -d 'Show help'
complete -c throttle -n '__throttle_is set' -s d -l down -x -a $rates -d 'Limit downloads'
complete -c throttle -n '__throttle_is set' -s u -l up -x -a $rates -d 'Limit uploads'
complete -c throttle -n '__throttle_is set' -s g -l group -x -a '(__throttle_groups)' -d 'Change a group instead'
complete -c throttle -n '__throttle_is set' -l rtt -x -a $rtts -d 'Add so much to each round trip'
complete -c throttle -n '__throttle_is set' -l jitter -x -a $jitters -d 'Vary that by so much'
complete -c throttle -n '__throttle_is set' -l loss -x -a $losses -d 'Lose so many packets each way'
complete -c throttle -n '__throttle_is set' -l background -d 'Take only what nobody else wants'
complete -c throttle -n '__throttle_is set' -l no-background -d 'No more so'

complete -c throttle -n __throttle_is_run -s d -l down -x -a $rates -d 'Limit downloads'
complete -c throttle -n __throttle_is_run -s u -l up -x -a $rates -d 'Limit uploads'
complete -c throttle -n __throttle_is_run -s g -l group -x -a '(__throttle_groups)' -d 'Share a budget with this group'
complete -c throttle -n __throttle_is_run -s p -l pid -x -a '(__fish_complete_pids)' \
    -d 'Limit this process instead of a command'
complete -c throttle -n __throttle_is_run -l cgroup -x -a '(__fish_complete_directories)' \
    -d 'Limit all that is in this cgroup'
complete -c throttle -n __throttle_is_run -l unit -x -d 'Limit this unit of systemd'
complete -c throttle -n __throttle_is_run -l user-unit -x -d 'Limit this unit of your own systemd'
complete -c throttle -n __throttle_is_run -l for -x -a '30s 10m 1h' -d 'Limit what runs already for so long'
complete -c throttle -n __throttle_is_run -l background -d 'Take only what nobody else wants'
complete -c throttle -n __throttle_is_run -l quota -x -a '10M 100M 1G' -d 'End the command once it has moved so much'
complete -c throttle -n __throttle_is_run -l kill-after -x -a '5s 10s 30s' -d 'Kill it where it goes on for so long'
complete -c throttle -n __throttle_is_run -l rtt -x -a $rtts -d 'Add so much to each round trip'
complete -c throttle -n __throttle_is_run -l jitter -x -a $jitters -d 'Vary that by so much'
complete -c throttle -n __throttle_is_run -l loss -x -a $losses -d 'Lose so many packets each way'
complete -c throttle -n __throttle_is_run -l profile -x -a '(__throttle_profiles)' -d 'Have the network be like this one'
complete -c throttle -n __throttle_is_run -l burst -x -a '200ms 500ms 1s' -d 'Unused time to catch up on'
complete -c throttle -n __throttle_is_run -l count -x -a 'payload wire' -d 'What a limit counts'
complete -c throttle -n __throttle_is_run -l scope -x -a 'all internet local' -d 'Which peers are limited'
complete -c throttle -n __throttle_is_run -l except -x -a $networks -d 'Do not limit these peers'
complete -c throttle -n __throttle_is_run -l only -x -a $networks -d 'Limit no peers but these'
complete -c throttle -n __throttle_is_run -l mode -x -a 'auto shape police' -d 'How downloads are limited'
complete -c throttle -n __throttle_is_run -l linger -x -a 'keep wait release kill' \
    -d 'What happens to processes that outlive the command'
complete -c throttle -n __throttle_is_run -l attach -x -a 'auto link legacy' -d 'How programs are attached'
complete -c throttle -n __throttle_is_run -l cgroup-parent -x -a '(__fish_complete_directories)' \
    -d 'Make the cgroup of the run below this one'
complete -c throttle -n __throttle_is_run -l name -x -d 'Name for the run in reports'
complete -c throttle -n __throttle_is_run -l user -x -a '(__fish_complete_users)' \
    -d 'Run the command as this user'
complete -c throttle -n __throttle_is_run -l systemd -d 'Run in a cgroup that systemd delegates'
complete -c throttle -n __throttle_is_run -l best-effort -d 'Run without limits where they cannot be set up'
complete -c throttle -n __throttle_is_run -l progress -d 'Show how far the run is'
complete -c throttle -n __throttle_is_run -l stats -d 'Report at the end'
complete -c throttle -n '__throttle_is_run; and string match -q -- "--*" (commandline -ct)' -a '--stats=json' -d 'Report as JSON at the end'
complete -c throttle -n __throttle_is_run -l stats-file -r -F -d 'Write the report to this file'
complete -c throttle -n __throttle_is_run -s v -l verbose -d 'Say what was chosen, and report at the end'
complete -c throttle -n __throttle_is_run -l debug -d 'Log every attachment and detachment'
complete -c throttle -n __throttle_is_run -s q -l quiet -d 'No warnings, only errors'
complete -c throttle -n __throttle_is_run -l help -d 'Show help'
