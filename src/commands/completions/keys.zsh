# Keys and prefixes, from the node that the line names: its flags may stand before the command.
_pykv_keys_of_node() {
    local -a flags
    local name value
    for name in -s --server --token-file --tls-ca --tls-client-cert --tls-client-key; do
        value=${opt_args[$name]:-${_pykv_before[$name]-}}
        [[ -n $value ]] && flags+=($name ${(Q)value})
    done
    keys=(${(f)"$(pykv list --limit 100 --timeout 1s $flags -- "${(Q)PREFIX}" 2>/dev/null)"})
}

_pykv_keys() {
    local -a keys
    _pykv_keys_of_node
    compadd -a keys
}

# A prefix ends behind the next : or /, where there is one.
_pykv_prefixes() {
    local -a keys prefixes
    local word=${(Q)PREFIX} key
    _pykv_keys_of_node
    for key in $keys; do
        [[ ${key#$word} =~ '^[^:/]*[:/]' ]] && key=$word$MATCH
        prefixes+=($key)
    done
    compadd -S '' -a prefixes
}

