#!/usr/bin/env bash
# Install what the data-plane benchmark compares against: nginx (Debian/Ubuntu) and the Rust routers' wheels.
# Running it again changes nothing. Usage: setup_peers.sh [DIR]   (default: build/peers in this repository)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$root/build/peers}

if ! command -v nginx >/dev/null && [ ! -x /usr/sbin/nginx ]; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends nginx-light
fi

mkdir -p "$dir"
for peer in vr:vllm-router==0.1.17 smg:smg==1.13.0; do
  venv=$dir/${peer%%:*}
  wheel=${peer#*:}
  [ "$(cat "$venv/installed" 2>/dev/null)" = "$wheel" ] && continue
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "$wheel"
  echo "$wheel" >"$venv/installed"
done
echo "peers are in $dir"
