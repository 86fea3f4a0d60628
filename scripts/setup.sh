#!/usr/bin/env bash
# Makes the virtual environment given as first argument (default .venv) and installs this checkout into it, with the
# versions of constraints.txt: what it runs with, or, with `tests` as second argument, what its tests need as well.
# On a machine without an NVIDIA driver torch's CPU build is taken where one is offered: by pip's own configuration, else
# by PyTorch's index; otherwise PyPI's build, which brings gigabytes of CUDA.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
what=${2:-}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || {
  echo "Python 3.11 or 3.12 is needed, $python is $("$python" --version); set PYTHON=…" >&2
  exit 1
}
stamp="$venv/.installed"
wanted=$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum | cut -c1-64)
[ -f "$stamp" ] && case "$(cat "$stamp")" in "$wanted tests" | "$wanted $what") exit 0 ;; esac

log="$venv/install.log"
started=$SECONDS

# One line about how far it is: over the last one in a terminal, below it elsewhere.
show() { if [ -t 1 ]; then printf '\r\033[K  %s' "$1"; else echo "  $1"; fi; }

# pip's words go to the log; a person sees which package it is at. Arguments: those of `pip install`.
install() {
  PYTHONUNBUFFERED=1 "$venv/bin/python" -m pip --disable-pip-version-check install --progress-bar off "$@" 2>>"$log" |
    tee -a "$log" | {
    count=0
    while IFS= read -r line; do
      case $line in
        "Collecting "*) name=${line#Collecting } name=${name%%[=<>!~;[ (]*} count=$((count + 1))
          [ ! -t 1 ] || show "$count packages: $name" ;;
        *"Downloading "*"("*[0-9][0-9].*" MB)"* | *"Downloading "*"("*" GB)"*) show "$count packages: $name (${line##*(}" ;;
        "Installing collected packages"*) line=${line//[^,]/}; show "unpacking $((${#line} + 1)) packages, a minute or two" ;;
      esac
    done
    [ ! -t 1 ] || printf '\r\033[K'
  }
}

echo "Setting up $venv: a few minutes the first time, pip's own words in $log"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
: >"$log"
pinned() { sed -n "s/^$1==//p" constraints.txt; }
torch=$(pinned torch) torchvision=$(pinned torchvision)
if ! command -v nvidia-smi >/dev/null && ! "$venv/bin/python" -c "import importlib.metadata as m; assert m.version('torch').startswith('$torch')" 2>/dev/null; then
  index=https://download.pytorch.org/whl/cpu
  install "torch==$torch+cpu" "torchvision==$torchvision+cpu" ||
    install "torch==$torch+cpu" "torchvision==$torchvision+cpu" --extra-index-url "$index" ||
    install "torch==$torch+cpu" ||
    echo "No CPU build of torch $torch is offered here; taking the default build."
fi
install -c constraints.txt -e ".${what:+[dev]}" || {
  tail -n 20 "$log" >&2
  echo "pip could not install this checkout; all of its words are in $log" >&2
  exit 1
}
# PyPI's torchvision does not load beside a CPU build of torch, and open_clip and transformers fall with it. Where the two
# do not fit, every Python of this environment begins with what makes them fit.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -f "$site/synthvlm_torchvision.pth"
"$venv/bin/python" -I -c 'import torchvision' 2>/dev/null ||
  echo 'import importlib.util as u; u.find_spec("synthvlm_core") and __import__("synthvlm_core")' >"$site/synthvlm_torchvision.pth"
echo "$wanted $what" >"$stamp"
echo "Ready in $((SECONDS - started)) s: $venv"
