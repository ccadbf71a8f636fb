# Shared by `run` and `conformance`: what they need, installed outside the repository, and a
# server of their own. Nothing is skipped: what cannot be installed or started ends the run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
HERE=$PWD/tests/interop
WORK=${INTEROP_DIR:-${TMPDIR:-/tmp}/hundi-interop}
mkdir -p "$WORK"

if [ -z "${HUNDI:-}" ]; then
  cargo build --quiet
  HUNDI=$PWD/target/debug/hundi
fi

# need FOLDER PACKAGE...: installs npm packages into their own folder, once.
need() {
  local folder=$WORK/$1
  shift
  [ -e "$folder/.installed" ] && return
  npm install --silent --no-fund --no-audit --prefix "$folder" "$@" >&2
  touch "$folder/.installed"
}

# The conformance suite and the Inspector want a newer Node than most machines have.
need node node@24
export PATH=$WORK/node/node_modules/.bin:$PATH

STARTED=()
finish() {
  for pid in "${STARTED[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$DATA"
}
DATA=$(mktemp -d)
trap finish EXIT

# A server with an empty data folder, on ports of its own.
HUNDI_DATA_DIR=$DATA/served HUNDI_LISTEN=127.0.0.1:0 HUNDI_SANDBOX_LISTEN=127.0.0.1:0 \
  "$HUNDI" serve --bootstrap "$DATA/keys.json" >"$DATA/serve.out" 2>"$DATA/serve.err" &
STARTED+=($!)
for _ in $(seq 300); do
  grep -q '^listening on' "$DATA/serve.out" && break
  kill -0 "${STARTED[0]}" 2>/dev/null || { cat "$DATA/serve.err" >&2; exit 1; }
  sleep 0.1
done
grep -q '^listening on' "$DATA/serve.out" || { echo "the server did not start" >&2; exit 1; }
told() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$DATA/keys.json" "$1"; }
URL=$(told mcp_url)
KEY=$(told agent_key)
