# What is done on a host, sent there with every call: the first word says what, the
# second where. Whatever changes something does so alone, by the lock of the folder,
# and never under a fence smaller than the largest that was seen.
#
# Codes: 20 fenced, 21 something is in the way, 22 a hook failed, 23 is not there,
# 24 what was to be linked to is not as it was, 25 is in traffic, 26 the lease is somebody
# else's.
set -eu
export LC_ALL=C
umask 022
verb=$1
root=$2
shift 2
state=$root/.shipline

fail() {
    code=$1
    shift
    printf '%s\n' "$*" >&2
    exit "$code"
}

lock() {
    mkdir -p "$state/units"
    exec 9>>"$state/lock"
    flock -w "${1:-30}" 9 || fail 1 "somebody else has worked in $root for more than ${1:-30} s"
}

see() {
    seen=0
    [ ! -s "$state/fence" ] || seen=$(cat "$state/fence")
}

raise() {
    see
    [ "$seen" -le "$1" ] || fail 20 "$root has seen fence $seen, this engine holds $1"
    [ "$seen" -eq "$1" ] || put "$state/fence" "$1"
}

alone() {
    lock
    raise "$1"
}

# Reads whose the lease is; nobody's where it was not renewed for as long as it lasts, or
# says nothing in our words. Its age is that of the machine, which nobody sets: of one that
# came up since, it is from then on, when its holder could have come back.
lease() {
    held= held_fence= ttl= renewed= boot= held_by=
    [ -f "$state/lease" ] || return 0
    {
        read -r held && read -r held_fence && read -r ttl && read -r renewed && read -r boot &&
            IFS= read -r held_by
    } <"$state/lease" || held=
    case $held_fence,$ttl,$renewed in
    *[!0-9,]* | ,* | *, | *,,*) held= ;;
    esac
    [ -n "$held" ] || return 0
    [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || renewed=0
    up
    [ "$((now - renewed))" -lt "$ttl" ] || held=
}

up() {
    now=$(cut -d . -f 1 /proc/uptime)
}

# fence deployment ttl since holder
keep() {
    up
    put "$state/lease" "$2
$1
$3
$now
$(cat /proc/sys/kernel/random/boot_id)
$4 $5"
}

# Hooks must not inherit the lock: what they start would hold it for ever.
unlock() {
    exec 9>&-
}

# Replaces a small file as a whole.
put() {
    printf '%s\n' "$2" >"$1.tmp"
    sync "$1.tmp"
    mv -fT "$1.tmp" "$1"
}

link() {
    [ ! -L "$root/current" ] || readlink "$root/current"
}

# One rename: there is no moment without a release.
point() {
    ln -sfn "$1" "$state/current.new"
    mv -fT "$state/current.new" "$root/current"
    sync "$root"
}

is() {
    [ -f "$state/$1" ] && [ "$(cat "$state/$1")" = "$2" ]
}

nobody_started() {
    [ ! -s "$state/started" ]
}

of_unit() {
    dir=$state/units/$1
    release=
    [ ! -f "$dir/release" ] || release=$(cat "$dir/release")
    home=releases/$release
}

has_unit() {
    of_unit "$1"
    [ -n "$release" ] || fail 23 "$1 does not exist"
}

# Runs a command in the release, with the variables of the unit.
hook() {
    [ -n "$1" ] || return 0
    code=0
    (
        cd "$root/$home" || exit
        set -a
        . "$dir/env"
        set +a
        exec timeout -k 5 75 sh -c "$1"
    ) >>"$dir/output" 2>&1 </dev/null || code=$?
    if [ "$code" -ne 0 ]; then
        tail -n 200 "$dir/output" >&2
        fail 22 "\`$1\` ended with $code"
    fi
}

note() {
    printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >>"$dir/output"
}

# The service of a unit as stopped as its profile can make it.
end() {
    if ! is started "$unit"; then
        # A start that got as far as the link is ended as well.
        nobody_started && [ "$(link)" = "$home" ] && [ ! -f "$dir/stopped" ] || return 0
        [ -f "$dir/begun" ] || return 0
    fi
    unlock
    hook "$1"
    alone "$fence"
    ! is started "$unit" || rm -f "$state/started"
    put "$dir/stopped" "$(date +%s)"
    note "stopped"
}

tell_units() {
    for mark in started admitted; do
        [ ! -s "$state/$mark" ] || printf '%s\t%s\n' "$mark" "$(cat "$state/$mark")"
    done
    for file in "$state"/units/*/unit.json; do
        [ -f "$file" ] || continue
        dir=${file%/unit.json}
        phase=created
        [ ! -f "$dir/begun" ] || phase=begun
        [ ! -f "$dir/stopped" ] || phase=$(cat "$dir/stopped")
        printf 'unit\t%s\t%s\t%s\n' "${dir##*/}" "$phase" "$(cat "$file")"
    done
}

tell_current() {
    if [ -L "$root/current" ]; then
        printf 'current\t%s\n' "$(readlink "$root/current")"
    elif [ -e "$root/current" ]; then
        printf 'occupied\t%s\n' "$root/current"
    fi
}

case $verb in
facts | prepare)
    for tool in cmp df find flock sha256sum sync tar timeout xargs zstd; do
        command -v "$tool" >/dev/null 2>&1 || printf 'missing\t%s\n' "$tool"
    done
    printf 'time\t%s\n' "$(date +%s)"
    place=$root
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    writable=yes
    [ -w "$place" ] || { writable= && printf 'readonly\t%s\n' "$place"; }
    printf 'user\t%s\n' "$(id -un)"
    for tool in systemctl nginx php-fpm java node; do
        command -v "$tool" >/dev/null 2>&1 || [ -x "/usr/sbin/$tool" ] || continue
        printf 'runtime\t%s\n' "$tool"
    done
    for folder in "$root/releases" "$root/shared" "$state/units"; do
        [ ! -d "$folder" ] || continue
        printf 'folder\t%s\n' "$folder"
        [ "$verb" = facts ] || [ -z "$writable" ] || mkdir -p "$folder"
    done
    set -- $(df -Pk "$place" | tail -n 1)
    printf 'free\t%s\n' "$4"
    tell_current
    tell_units
    ;;
observe) # fence, of whoever is about to change something
    [ $# -eq 0 ] || alone "$1"
    tell_current
    tell_units
    ;;
leased)
    see
    lease
    printf 'fence\t%s\n' "$seen"
    [ -z "$held" ] || printf 'held\t%s\t%s\n' "$held" "$held_by"
    ;;
lease) # fence deployment ttl since holder
    lock 3
    lease
    [ -z "$held" ] || [ "$held" = "$2" ] || fail 26 "$held_by"
    # Also where somebody was here and left since the fence was looked at.
    see
    [ "$seen" -lt "$1" ] || fail 20 "$root has seen fence $seen, this engine wants $1"
    raise "$1"
    keep "$@"
    ;;
renew) # fence deployment ttl since holder
    lock 3
    lease
    # Two who did not see each other meet again: the larger fence stays.
    [ -z "$held" ] || [ "$held" = "$2" ] || [ "$held_fence" -lt "$1" ] ||
        fail 20 "$root is held by ${held_by#* }"
    raise "$1"
    [ -z "$held" ] || [ "$held" != "$2" ] || set -- "$1" "$2" "$3" "${held_by%% *}" "$5"
    keep "$@"
    ;;
release) # fence deployment
    [ -f "$state/lease" ] || exit 0
    lock 3
    lease
    [ "$held $held_fence" != "$2 $1" ] || rm -f "$state/lease"
    ;;
base) # fence release
    alone "$1"
    shift
    [ ! -d "$root/releases/$1" ] || printf 'here\n'
    now=$(link)
    if [ -f "$root/$now/RELEASE.json" ]; then
        printf 'base\t%s\n' "${now#releases/}"
        cat "$root/$now/RELEASE.json"
    fi
    ;;
place) # fence deployment release base sum <archive
    fence=$1 release=$3 base=$4 sum=$5
    home=$root/releases/$release
    mkdir -p "$root/releases" "$root/shared"
    find "$root/releases" -maxdepth 1 -name '.tmp-*' -mmin +60 -exec rm -rf {} +
    beside=$root/releases/.tmp-$2-$$
    trap 'rm -rf "$beside"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir "$beside"
    cat >"$beside/archive"
    [ "$(sha256sum <"$beside/archive")" = "$sum  -" ] || fail 1 "what arrived is not what was sent"
    zstd -dqc "$beside/archive" | tar -xpf - -C "$beside" --no-same-owner
    rm "$beside/archive"
    if [ -s "$beside/links" ]; then
        cd "$root/releases/$base" || fail 24 "release $base is gone"
        xargs -0 cp -lP --parents -t "$beside/tree" -- <"$beside/links" || fail 24 "release $base has changed"
    fi
    cd "$beside/tree"
    [ ! -s "$beside/sums" ] || sha256sum --quiet -c "$beside/sums" >&2 || fail 24 "files are not what they should be"
    find . -type f -links 1 -exec sync {} +
    find . -type d -exec sync {} +
    cd "$root"
    alone "$fence"
    if [ ! -d "$home" ]; then
        mv -T "$beside/tree" "$home"
        sync "$root/releases"
    fi
    ;;
create) # fence unit release <record, then variables
    fence=$1 unit=$2 release=$3
    mkdir -p "$state/units"
    beside=$state/units/.tmp-$unit-$$
    trap 'rm -rf "$beside"' EXIT
    mkdir "$beside"
    umask 077
    IFS= read -r record
    cat >"$beside/env"
    printf '%s\n' "$record" >"$beside/unit.json"
    printf '%s\n' "$release" >"$beside/release"
    sync "$beside/env" "$beside/unit.json" "$beside/release" "$beside"
    alone "$fence"
    [ -d "$root/releases/$release" ] || fail 23 "release $release is not here"
    if [ -e "$state/units/$unit" ]; then
        cmp -s "$beside/unit.json" "$state/units/$unit/unit.json" || fail 21 "$unit is there already"
        exit 0
    fi
    mv -T "$beside" "$state/units/$unit"
    sync "$state/units"
    ;;
start) # fence unit hook
    fence=$1 unit=$2
    alone "$fence"
    has_unit "$unit"
    [ -d "$root/$home" ] || fail 23 "release $release is no longer here"
    [ ! -e "$root/current" ] || [ -L "$root/current" ] || fail 21 "$root/current is no symbolic link"
    before=$(link)
    if is started "$unit" && [ "$before" = "$home" ]; then
        printf 'already\n'
        exit 0
    fi
    if ! nobody_started; then
        other=$state/units/$(cat "$state/started")
        [ "$other" = "$dir" ] || [ ! -d "$other" ] || put "$other/stopped" "$(date +%s)"
        rm -f "$state/started"
    fi
    [ "$before" = "$home" ] || put "$state/previous" "$before"
    cp "$dir/env" "$state/env.new"
    chmod 600 "$state/env.new"
    mv -fT "$state/env.new" "$state/env"
    put "$dir/begun" "$fence"
    rm -f "$dir/stopped"
    note "current -> $home"
    point "$home"
    unlock
    hook "$3"
    alone "$fence"
    [ "$(link)" = "$home" ] || fail 21 "$root/current was changed meanwhile"
    put "$state/started" "$unit"
    ;;
stop) # fence unit hook
    fence=$1 unit=$2
    alone "$fence"
    of_unit "$unit"
    [ -n "$release" ] || exit 0
    ! is admitted "$unit" || fail 25 "$unit still gets traffic"
    end "$3"
    ;;
remove) # fence unit hook
    fence=$1 unit=$2
    alone "$fence"
    of_unit "$unit"
    [ -n "$release" ] || exit 0
    ! is admitted "$unit" || fail 25 "$unit still gets traffic"
    end "$3"
    shared=
    for other in "$state"/units/*/release; do
        [ ! -f "$other" ] || [ "$other" = "$dir/release" ] || [ "$(cat "$other")" != "$release" ] || shared=yes
    done
    if [ "$(link)" = "$home" ] && nobody_started && [ -z "$shared" ]; then
        back=
        [ ! -f "$state/previous" ] || back=$(cat "$state/previous")
        case $back in
        '') there= ;;
        /*) there=$back ;;
        *) there=$root/$back ;;
        esac
        if [ -n "$there" ] && [ -d "$there" ]; then point "$back"; else rm -f "$root/current"; fi
    fi
    [ ! -f "$dir/cleared" ] || printf 'cleared\n'
    gone=$state/units/.gone-$unit-$$
    mv -T "$dir" "$gone"
    rm -rf "$gone"
    ;;
admit) # fence unit
    alone "$1"
    has_unit "$2"
    is admitted "$2" || put "$state/admitted" "$2"
    ;;
cleared) # fence unit
    alone "$1"
    has_unit "$2"
    put "$dir/cleared" yes
    ;;
drain) # fence unit
    alone "$1"
    ! is admitted "$2" || rm -f "$state/admitted"
    ;;
prune) # <releases to keep
    [ -d "$root/releases" ] || exit 0
    lock
    keep=$(cat)
    now=$(link)
    before=
    [ ! -f "$state/previous" ] || before=$(cat "$state/previous")
    used=$(cat "$state"/units/*/release 2>/dev/null || :)
    for home in "$root"/releases/*/; do
        home=${home%/}
        release=${home##*/}
        # What somebody else put here is not ours to judge.
        [ -f "$home/RELEASE.json" ] || continue
        [ "$now" != "releases/$release" ] && [ "$before" != "releases/$release" ] || continue
        case " $(printf '%s %s' "$keep" "$used" | tr '\n' ' ') " in
        *" $release "*) continue ;;
        esac
        gone=$root/releases/.tmp-gone-$release-$$
        mv -T "$home" "$gone"
        rm -rf "$gone"
        printf '%s\n' "$release"
    done
    ;;
there) # unit
    has_unit "$1"
    cat "$dir/unit.json"
    ;;
where) # unit; the folder of a unit whose project is not known
    for dir in "$root"/*/.shipline/units/"$1"; do
        [ ! -d "$dir" ] || printf '%s\n' "${dir%/.shipline/units/*}"
    done
    ;;
exec) # unit, command
    has_unit "$1"
    shift
    [ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}"
    cd "$root/$home"
    set -a
    . "$dir/env"
    set +a
    exec "$@"
    ;;
check) # unit, command
    has_unit "$1"
    shift
    code=0
    (
        cd "$root/$home" || exit
        set -a
        . "$dir/env"
        set +a
        exec "$@"
    ) >&2 </dev/null || code=$?
    [ "$code" -eq 0 ] || fail 22 "ended with $code"
    ;;
logs) # unit journal follow lines since
    has_unit "$1"
    if [ -n "$2" ]; then
        journal=$2 follow=$3 lines=$4 since=$5
        set -- --no-pager --unit "$journal"
        [ -z "$follow" ] || set -- "$@" --follow
        [ -z "$lines" ] || set -- "$@" --lines "$lines"
        [ -z "$since" ] || set -- "$@" --since "@$since"
        exec journalctl "$@"
    fi
    follow=$3 lines=$4 since=$5
    # A text without times is told whole, or not at all.
    if [ -n "$since" ] && [ "$(date -r "$dir/output" +%s)" -lt "$since" ]; then
        [ -n "$follow" ] || exit 0
        lines=0
    fi
    exec tail -q -n "${lines:-+1}" ${follow:+-F} "$dir/output"
    ;;
*)
    fail 1 "unknown: $verb"
    ;;
esac
