
# Keys, from the node that the line names. Its flags may stand before the command.
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

function __fish_pykv_takes_keys
    set -l words (commandline -opc)
    set -l at 2
    while set -q words[$at]
        switch $words[$at]
            case -s --server --token-file --timeout --tls-ca --tls-client-cert --tls-client-key
                set at (math $at + 2)
            case '-*'
                set at (math $at + 1)
            case get exists set put del rm incr ttl expire persist
                return 0
            case '*'
                return 1
        end
    end
    return 1
end

function __fish_pykv_keys
    set -l flags (__fish_pykv_flags)
    pykv list --limit 100 --timeout 1s $flags -- (commandline -ct) 2>/dev/null
end

complete -c pykv -n __fish_pykv_takes_keys -f -a "(__fish_pykv_keys)"
