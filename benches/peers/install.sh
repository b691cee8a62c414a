#!/bin/sh
# Installs the peers under target/peers, each by its package name and pinned by the lock files beside this
# script. What is there and current is left as it is, and what cannot be installed holds up nothing else.
# Needs Python 3 with venv, and Node with npm.
here=$(cd "$(dirname "$0")" && pwd)
home=$here/../../target/peers
failed=

# step NAME LOCK COMMAND: runs COMMAND unless the last one that succeeded had the same lock file.
step() {
    echo "$1" >&2
    mkdir -p "$home/$1"
    cmp -s "$2" "$home/$1/installed" && return
    if "$3"; then cp "$2" "$home/$1/installed"; else failed="$failed $1"; fi
}

# NATS and uWebSockets.
python() {
    python3 -m venv --clear "$home/py" &&
        "$home/py/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
            --requirement "$here/requirements.txt"
}

# Socket.IO and ws. bufferutil brings its compiled part along, so that no script has to run.
node() {
    cp "$here/node/package.json" "$here/node/package-lock.json" "$home/node/" &&
        (cd "$home/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

step py "$here/requirements.txt" python
step node "$here/node/package-lock.json" node
[ -z "$failed" ] || { echo "not installed:$failed" >&2; exit 1; }
