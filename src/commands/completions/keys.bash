
# Keys, from the node that the line names.
_pykv_with_keys() {
    _pykv "$@"
    local line=${COMP_LINE:0:COMP_POINT} words=() word= command= before= flags=() at key colon=
    read -ra words <<<"$line"
    if [[ $line != *[[:blank:]] ]]; then
        word=${words[-1]}
        unset 'words[-1]'
    fi
    for ((at = 1; at < ${#words[@]}; at++)); do
        case ${words[at]} in
            -s | --server | --token-file | --timeout | --tls-ca | --tls-client-cert | --tls-client-key)
                flags+=("${words[at]}" "${words[++at]}")
                ;;
            -s?* | --server=* | --token-file=* | --tls-*=*) flags+=("${words[at]}") ;;
            -*) ;;
            *) if [[ $command ]]; then before=1; else command=${words[at]}; fi ;;
        esac
    done
    case $command in
        get | exists | del | rm) ;;
        set | put | incr | ttl | expire | persist) [[ $before ]] && return ;;
        *) return ;;
    esac
    [[ $word == [-\"\']* ]] && return
    COMPREPLY=()
    # A word ends at each colon for the shell: what stands before the last one is on the line already.
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && colon=${word%"${word##*:}"}
    while IFS= read -r key; do
        key=$(printf %q "$key")
        COMPREPLY+=("${key#"$colon"}")
    done < <(pykv list --limit 100 --timeout 1s "${flags[@]}" -- "$word" 2>/dev/null)
}
complete -F _pykv_with_keys -o bashdefault -o default pykv
