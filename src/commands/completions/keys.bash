
# Keys and prefixes, from the node that the line names.
_pykv_with_keys() {
    _pykv "$@"
    local line=${COMP_LINE:0:COMP_POINT} words=() word= command= before= what= limit=(--timeout 1s) flags=() at key colon=
    read -ra words <<<"$line"
    if [[ $line != *[[:blank:]] ]]; then
        word=${words[-1]}
        unset 'words[-1]'
    fi
    for ((at = 1; at < ${#words[@]}; at++)); do
        what=
        case ${words[at]} in
            -s | --server | --token-file | --tls-ca | --tls-client-cert | --tls-client-key)
                what=other
                ((at + 1 < ${#words[@]})) && flags+=("${words[at]}" "${words[++at]}") && what=
                ;;
            --prefix) ((at + 1 < ${#words[@]})) && ((++at)) || what=prefix ;;
            --timeout | --ttl | --if-version | --file | --initial | --limit | --match | --after)
                ((at + 1 < ${#words[@]})) && ((++at)) || what=other
                ;;
            -s?* | --server=* | --token-file=* | --tls-*=*) flags+=("${words[at]}") ;;
            -*) ;;
            *) if [[ $command ]]; then before=1; else command=${words[at]}; fi ;;
        esac
    done
    [[ $word == [-\"\']* ]] && return
    case $command:$what:$before in
        del:prefix:* | rm:prefix:* | export:prefix:*) what=prefix ;;
        *:?*:*) return ;;
        list::* | ls::* | keys::* | watch::*) [[ $before ]] && return || what=prefix ;;
        get::* | exists::* | del::* | rm::*) ;;
        set::* | put::* | incr::* | ttl::* | expire::* | persist::*) [[ $before ]] && return ;;
        *) return ;;
    esac
    COMPREPLY=()
    # A word ends at each colon for the shell: what stands before the last one is on the line already.
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && colon=${word%"${word##*:}"}
    [[ $what ]] && compopt -o nospace 2>/dev/null
    while IFS= read -r key; do
        # A prefix ends behind the next : or /, where there is one.
        [[ $what && ${key#"$word"} =~ ^[^:/]*[:/] ]] && key=$word${BASH_REMATCH[0]}
        key=$(printf %q "$key")
        key=${key#"$colon"}
        [[ " ${COMPREPLY[*]} " == *" $key "* ]] || COMPREPLY+=("$key")
    done < <(pykv list --limit 100 "${limit[@]}" "${flags[@]}" -- "$word" 2>/dev/null)
}
complete -F _pykv_with_keys -o bashdefault -o default pykv
