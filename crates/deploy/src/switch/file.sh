# What is done with a file that a balancer reads: the first word says what, the second
# where it is. It is replaced as a whole, and never under a fence smaller than its own.
#
# Codes: 20 fenced, 22 the balancer refuses it, 24 it has changed meanwhile.
set -eu
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
verb=$1
file=$2
shift 2
dir=$(dirname "$file")
base=$(basename "$file")
# Names that no pattern of an include takes.
former=$dir/.$base.former new=$dir/.$base.new loaded=$dir/.$base.loaded

fail() {
    code=$1
    shift
    printf '%s\n' "$*" >&2
    exit "$code"
}

alone() {
    exec 9>>"$dir/.$base.lock"
    flock -w 20 9 || fail 1 "somebody else has worked on $file for more than 20 s"
    # Somebody died between a change and the word of the balancer about it.
    [ ! -f "$former" ] || mv -fT "$former" "$file"
}

sum_of() {
    if [ -f "$1" ]; then sha256sum <"$1" | cut -d ' ' -f 1; else printf 'none\n'; fi
}

# Says what a command of the balancer has against the file, if anything.
refusal() {
    said=
    [ -n "$1" ] || return 1
    code=0
    said=$(sh -c "$1" 2>&1 9>&- </dev/null) || code=$?
    [ "$code" -ne 0 ] || return 1
    said="\`$1\` ended with $code: $said"
}

back() {
    if [ -f "$former" ]; then mv -fT "$former" "$file"; else rm -f "$file"; fi
    fail 22 "$said"
}

case $verb in
read)
    [ -d "$dir" ] || fail 1 "there is no folder $dir"
    [ -w "$dir" ] || fail 1 "$(id -un) may not write into $dir"
    for tool in flock sha256sum; do
        command -v "$tool" >/dev/null || fail 1 "there is no \`$tool\`"
    done
    [ ! -f "$file" ] || { printf 'there\n' && cat "$file"; }
    ;;
test) # test
    ! refusal "$1" || fail 22 "$said"
    ;;
write) # fence, sum of what it was, test, reload <text
    alone
    seen=
    [ ! -f "$file" ] || seen=$(sed -n '1s/^# shipline .*fence=\([0-9]*\)$/\1/p' "$file")
    [ "${seen:-0}" -le "$1" ] || fail 20 "$file has seen fence $seen, this engine holds $1"
    [ "$(sum_of "$file")" = "$2" ] || fail 24 "$file has changed meanwhile"
    cat >"$new"
    sum=$(sum_of "$new")
    if [ "$sum" = "$2" ] && [ -f "$loaded" ] && [ "$(cat "$loaded")" = "$sum" ]; then
        rm -f "$new"
        exit 0
    fi
    [ ! -f "$file" ] || cp -p "$file" "$former"
    sync "$new"
    mv -fT "$new" "$file"
    sync "$dir"
    ! refusal "$3" || back
    ! refusal "$4" || back
    rm -f "$former"
    printf '%s\n' "$sum" >"$loaded"
    ;;
remove)
    alone
    rm -f "$file" "$loaded" "$new"
    ;;
*)
    fail 1 "unknown: $verb"
    ;;
esac
