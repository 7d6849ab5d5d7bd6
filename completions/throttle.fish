# fish completion of throttle(1): its options and their values, then whatever the command itself completes.

# Prints the words from the command's name to the cursor; fails where the command isn't reached yet.
function __throttle_command
    set -l words (commandline -cop)[2..] (commandline -ct)
    set -q words[2]; and test "$words[1]" = help; and return 1
    # Completed as a command of that name.
    set -q words[2]; and test "$words[1]" = doctor; and echo "throttle_$words"; and return
    set -q words[2]; and test "$words[1]" = run; and set -e words[1]
    while set -q words[2]
        switch $words[1]
            case --
                set -e words[1]
                break
            case -d -u --down --up --burst --count --mode --attach --cgroup-parent --name --user --stats-file
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

function __throttle_is_help
    set -l words (commandline -cop)
    test "$words" = 'throttle help'
end

set -l rates '50k 500k 1M 10M 10mbit unlimited'
complete -c throttle -f
complete -c throttle -n __throttle_command -a '(complete -C (__throttle_command))'
complete -c throttle -n __throttle_is_first -a run -d 'Run a command with limited bandwidth'
complete -c throttle -n __throttle_is_first -a doctor -d 'Say whether throttle can work here'
complete -c throttle -n __throttle_is_first -a help -d 'Show help'
complete -c throttle -n __throttle_is_help -a 'run doctor'
complete -c throttle_doctor -f
complete -c throttle_doctor -l json -d 'Print one JSON object'
complete -c throttle_doctor -l help -d 'Show help'
complete -c throttle -n __throttle_is_first -l version -d 'Show the version'

complete -c throttle -n 'not __throttle_command' -s d -l down -x -a $rates -d 'Limit downloads'
complete -c throttle -n 'not __throttle_command' -s u -l up -x -a $rates -d 'Limit uploads'
complete -c throttle -n 'not __throttle_command' -l burst -x -a '200ms 500ms 1s' -d 'Unused time to catch up on'
complete -c throttle -n 'not __throttle_command' -l count -x -a 'payload wire' -d 'What a limit counts'
complete -c throttle -n 'not __throttle_command' -l mode -x -a 'auto shape police' -d 'How downloads are limited'
complete -c throttle -n 'not __throttle_command' -l attach -x -a 'auto link legacy' -d 'How programs are attached'
complete -c throttle -n 'not __throttle_command' -l cgroup-parent -x -a '(__fish_complete_directories)' \
    -d 'Make the cgroup of the run below this one'
complete -c throttle -n 'not __throttle_command' -l name -x -d 'Name for the run in reports'
complete -c throttle -n 'not __throttle_command' -l user -x -a '(__fish_complete_users)' \
    -d 'Run the command as this user'
complete -c throttle -n 'not __throttle_command' -l systemd -d 'Run in a cgroup that systemd delegates'
complete -c throttle -n 'not __throttle_command' -l best-effort -d 'Run without limits where they cannot be set up'
complete -c throttle -n 'not __throttle_command' -l stats -d 'Report at the end'
complete -c throttle -n 'not __throttle_command; and string match -q -- "--*" (commandline -ct)' -a '--stats=json' -d 'Report as JSON at the end'
complete -c throttle -n 'not __throttle_command' -l stats-file -r -F -d 'Write the report to this file'
complete -c throttle -n 'not __throttle_command' -s v -l verbose -d 'Say what was chosen, and report at the end'
complete -c throttle -n 'not __throttle_command' -l debug -d 'Log every attachment and detachment'
complete -c throttle -n 'not __throttle_command' -s q -l quiet -d 'No warnings, only errors'
complete -c throttle -n 'not __throttle_command' -l help -d 'Show help'
