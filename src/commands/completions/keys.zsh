# Keys, from the node that the line names.
_pykv_keys() {
    local -a flags keys
    local name
    for name in -s --server --token-file --tls-ca --tls-client-cert --tls-client-key; do
        [[ -n ${opt_args[$name]-} ]] && flags+=($name ${(Q)opt_args[$name]})
    done
    keys=(${(f)"$(pykv list --limit 100 --timeout 1s $flags -- "${(Q)PREFIX}" 2>/dev/null)"})
    compadd -a keys
}

