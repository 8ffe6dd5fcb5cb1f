
# Keys and prefixes, from the node that the line names. Its flags may stand before the command.
function __fish_pykv_flags
    set -l words (commandline -opc)
    for at in (seq (count $words))
        switch $words[$at]
            case -s --server --token-file --tls-ca --tls-client-cert --tls-client-key
                printf '%s\n' $words[$at] $words[(math $at + 1)]
            case '--server=*' '--token-file=*' '--tls-*=*'
                printf '%s\n' $words[$at]
        end
    end
end

# Whether the command is one of the arguments.
function __fish_pykv_takes
    set -l words (commandline -opc)
    set -l at 2
    while set -q words[$at]
        switch $words[$at]
            case -s --server --token-file --timeout --tls-ca --tls-client-cert --tls-client-key
                set at (math $at + 2)
            case '-*'
                set at (math $at + 1)
            case '*'
                contains -- $words[$at] $argv
                return
        end
    end
    return 1
end

function __fish_pykv_keys
    set -l flags (__fish_pykv_flags)
    pykv list --limit 100 --timeout 1s $flags -- (commandline -ct) 2>/dev/null
end

# A prefix ends behind the next : or /, where there is one.
function __fish_pykv_prefixes
    set -l word (commandline -ct)
    set -l after (math (string length -- $word) + 1)
    for key in (__fish_pykv_keys)
        set -l end (string match -r '^[^:/]*[:/]' -- (string sub -s $after -- $key))
        set -q end[1]; and echo $word$end[1]; or echo $key
    end | sort -u
end

complete -c pykv -n "__fish_pykv_takes get exists set put del rm incr ttl expire persist" -f -a "(__fish_pykv_keys)"
complete -c pykv -n "__fish_pykv_takes list ls keys watch" -f -a "(__fish_pykv_prefixes)"
complete -c pykv -n "__fish_pykv_takes del rm export" -l prefix -x -a "(__fish_pykv_prefixes)"
