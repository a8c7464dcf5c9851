#!/usr/bin/env bash
# Runs clustered-echo as on three hosts. See usage below, or --help.
set -euo pipefail

readonly SKIPPED=77
readonly PORT=7001
readonly SECONDS_EACH=${SECONDS_EACH:-5}

usage() {
    cat <<'EOF'
Usage: hosts.sh [BINARY]

Runs clustered-echo as on three hosts: three network namespaces, each with an address of its own, on a
bridge in a namespace of its own. Nothing is added to the machine's own network.

  1. Starts the nodes a, b and c, and waits until they listen.
  2. Drives echo traffic to all three from a fourth namespace, and checks every reply.
  3. Kills node b with SIGKILL, and drives a and c, which must go on.
  4. Starts node b again, and drives all three.
  5. Ends the nodes with SIGTERM; each must end by itself, with exit code 0.

BINARY is the program, by default target/release/clustered-echo at the top of the repository.
SECONDS_EACH in the environment says how long each drive takes: 5 unless it is set.

Exit codes: 0 if everything went well, 1 if not, 2 for wrong usage, 77 if it cannot run here: it needs
root, the program `ip`, and a kernel with network namespaces.
EOF
}

say() {
    printf 'hosts: %s\n' "$*"
}

fail() {
    printf 'hosts: FAILED: %s\n' "$*" >&2
    exit 1
}

skip() {
    printf 'hosts: cannot run here: %s\n' "$*" >&2
    exit "$SKIPPED"
}

# --- The network -----------------------------------------------------------------------------------

# Names of this run, and of no other.
readonly RUN="annulus$$"
readonly SWITCH="$RUN-switch"
readonly -A ADDRESSES=([drive]=10.77.0.10 [a]=10.77.0.11 [b]=10.77.0.12 [c]=10.77.0.13)

namespaces=()
declare -A pids=()
folder=

add_namespace() {
    ip netns add "$1"
    namespaces+=("$1")
    ip -n "$1" link set lo up
}

# A host: a namespace with one interface on the bridge.
add_host() {
    local name=$1
    local host="$RUN-$name"
    add_namespace "$host"
    ip link add "to-$name" netns "$SWITCH" type veth peer name eth0 netns "$host"
    ip -n "$SWITCH" link set "to-$name" master bridge up
    ip -n "$host" address add "${ADDRESSES[$name]}/24" dev eth0
    ip -n "$host" link set eth0 up
}

make_network() {
    add_namespace "$SWITCH"
    ip -n "$SWITCH" link add bridge type bridge
    ip -n "$SWITCH" link set bridge up
    local name
    for name in drive a b c; do
        add_host "$name"
    done
}

# --- The nodes -------------------------------------------------------------------------------------

endpoint() {
    printf 'tcp://%s:%s' "${ADDRESSES[$1]}" "$PORT"
}

start_node() {
    local name=$1
    local log="$folder/$name.log"
    local joins=()
    local other
    for other in a b c; do
        [[ $other == "$name" ]] || joins+=(--join "$(endpoint "$other")")
    done
    # What an earlier life has said counts no more.
    rm -f -- "$log.out"
    # `ip netns exec` becomes the program: the process id is the node's own.
    ip netns exec "$RUN-$name" "$binary" node --name "$name" --workers 2 \
        --listen "$(endpoint "$name")" --secret-file "$folder/secret" "${joins[@]}" \
        >"$log.out" 2>>"$log" &
    pids[$name]=$!
    say "node $name: process ${pids[$name]}, $(endpoint "$name")"
}

is_alive() {
    kill -0 "${pids[$1]}" 2>/dev/null
}

wait_until_listening() {
    local name=$1
    local attempt
    for attempt in {1..100}; do
        if grep -qs '^listening on ' "$folder/$name.log.out"; then
            return
        fi
        is_alive "$name" || {
            cat "$folder/$name.log" >&2
            fail "node $name ended while starting"
        }
        sleep 0.1
    done
    fail "node $name does not listen after $((attempt / 10)) s"
}

# Asks the given nodes from the fourth host; every reply is checked there.
drive() {
    local joins=()
    local name
    for name in "$@"; do
        joins+=(--join "$(endpoint "$name")")
    done
    local targets
    targets=$(IFS=,; printf '%s' "$*")
    say "driving $targets for $SECONDS_EACH s"
    local code=0
    ip netns exec "$RUN-drive" "$binary" drive --secret-file "$folder/secret" "${joins[@]}" \
        --targets "$targets" --seconds "$SECONDS_EACH" --json >"$folder/drive.out" || code=$?
    tail -n 1 "$folder/drive.out"
    if ((code != 0)); then
        fail "driving $targets ended with exit code $code"
    fi
}

check_alive() {
    local name
    for name in "$@"; do
        is_alive "$name" || fail "node $name is gone"
    done
}

kill_node() {
    local name=$1
    say "killing node $name, process ${pids[$name]}"
    kill -9 "${pids[$name]}"
    wait "${pids[$name]}" 2>/dev/null || true
    unset "pids[$name]"
}

# Ends a node in order; it must do so by itself, and say that all is well.
end_node() {
    local name=$1
    local pid=${pids[$name]}
    kill -TERM "$pid"
    local attempt
    for attempt in {1..100}; do
        is_alive "$name" || break
        sleep 0.1
    done
    ! is_alive "$name" || fail "node $name does not end after $((attempt / 10)) s"
    local code=0
    wait "$pid" || code=$?
    unset "pids[$name]"
    ((code == 0)) || fail "node $name ended with exit code $code"
    say "node $name has ended"
}

# --- The end ---------------------------------------------------------------------------------------

# Ends what this run has started, and nothing else, whatever has happened before.
tidy_up() {
    local code=$?
    trap - EXIT
    set +e
    local name
    for name in "${!pids[@]}"; do
        kill -9 "${pids[$name]}" 2>/dev/null
        wait "${pids[$name]}" 2>/dev/null
    done
    if ((code != 0 && code != SKIPPED)) && [[ -n $folder ]]; then
        for name in a b c; do
            [[ -s $folder/$name.log ]] || continue
            printf 'hosts: the end of the log of node %s:\n' "$name" >&2
            tail -n 20 "$folder/$name.log" >&2
        done
    fi
    # With a namespace go its interfaces, and with the last one the bridge.
    for name in "${namespaces[@]}"; do
        ip netns delete "$name" 2>/dev/null
    done
    [[ -z $folder ]] || rm -rf -- "$folder"
    exit "$code"
}

check_machine() {
    ((EUID == 0)) || skip "network namespaces take root"
    command -v ip >/dev/null || skip "there is no program \`ip\` (package iproute2)"
    local probe="$RUN-probe"
    local why
    why=$(ip netns add "$probe" 2>&1) || skip "no network namespace can be made: $why"
    ip netns delete "$probe"
}

main() {
    case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
    -*)
        usage >&2
        exit 2
        ;;
    *) ;;
    esac
    if (($# > 1)); then
        usage >&2
        exit 2
    fi
    local top
    top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.." && pwd)
    binary=$(realpath -m -- "${1:-$top/target/release/clustered-echo}")
    check_machine
    if [[ ! -x $binary ]]; then
        say "$binary is not there: build it with \`cargo build --release -p clustered-echo\`" >&2
        exit 2
    fi

    trap tidy_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    folder=$(mktemp -d)
    (umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$folder/secret")
    make_network
    say "network ready: ${ADDRESSES[a]} ${ADDRESSES[b]} ${ADDRESSES[c]} on a bridge"

    local name
    for name in a b c; do
        start_node "$name"
    done
    for name in a b c; do
        wait_until_listening "$name"
    done
    drive a b c

    kill_node b
    drive a c
    check_alive a c

    start_node b
    wait_until_listening b
    drive a b c
    check_alive a b c

    for name in a b c; do
        end_node "$name"
    done
    say "all is well"
}

main "$@"
