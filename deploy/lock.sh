#!/usr/bin/env bash
# Writes the lock files that the image is built from: requirements.lock (run time, all extras) and
# requirements-build.lock (what builds the wheel). Both hold for CPython 3.11 and newer on Linux, x86-64 and aarch64.
# Needs uv. `deploy/lock.sh --upgrade` takes the newest versions that pyproject.toml allows; without, what is locked stays.
set -euo pipefail
cd "$(dirname "$0")/.."
UV=${UV:-uv}
options=(--universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --quiet "$@")
"$UV" pip compile pyproject.toml --all-extras --override deploy/lock-overrides.txt "${options[@]}" -o requirements.lock
sed -n '/^\[build-system\]/,/^\[project\]/s/^requires = \[\(.*\)\]$/\1/p' pyproject.toml | tr -d '",' |
  "$UV" pip compile - "${options[@]}" -o requirements-build.lock
