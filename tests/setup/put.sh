# shellcheck shell=bash
# put NAME TABLE: replaces what stands between the markers of NAME in docs/performance.md.
put() {
    awk -v name="$1" -v table="$2" '
        $0 == "<!-- bench: " name " -->" { print; print table; inside = 1; next }
        $0 == "<!-- end -->" { inside = 0 }
        !inside { print }
    ' docs/performance.md > target/performance.md
    cp target/performance.md docs/performance.md
}
