#!/usr/bin/env bash
# Checks the files of this folder, as far as the tools for it are here.
#
#     check.sh [BINARY]
#
# With a binary, this also runs it for two seconds under seccomp.json.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
failed=0

run() {
    local what=$1
    shift
    if "$@"; then
        printf 'check: %s: good\n' "$what"
    else
        printf 'check: %s: FAILED\n' "$what" >&2
        failed=1
    fi
}

have() {
    command -v "$1" >/dev/null || {
        printf 'check: no %s here: left out\n' "$1"
        return 1
    }
}

# shellcheck disable=SC2317  # it is called by `run`
verify_unit() {
    # The only complaint may be that the program is not installed.
    local complaints
    complaints=$(systemd-analyze verify "$here/annulus-echo@.service" 2>&1) || true
    complaints=$(grep 'annulus-echo@' <<<"$complaints" | grep -v 'is not executable' || true)
    [[ -z $complaints ]] || {
        printf '%s\n' "$complaints" >&2
        return 1
    }
}

if have python3; then
    run 'seccomp profile' "$here/under-seccomp.py" --check "$here/seccomp.json"
    if (($# > 0)); then
        run 'a run under the seccomp profile' "$here/under-seccomp.py" "$here/seccomp.json" \
            "$1" --seconds 2 --json
    fi
fi
if have shellcheck; then
    run 'scripts' shellcheck "$here/hosts.sh" "$here/check.sh"
fi
if have systemd-analyze; then
    run 'systemd unit' verify_unit
fi
if have docker && docker compose version >/dev/null 2>&1; then
    run 'compose file' docker compose -f "$here/compose.yaml" config --quiet
fi
exit "$failed"
