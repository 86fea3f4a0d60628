#!/usr/bin/env bash
# Prepares the Dagster instance in DAGSTER_HOME: this repository's settings if it has none, and, the first time on a
# machine without an accelerator, as many workers at once as there are processors. (With one accelerator the default
# stands: one worker of each pool at a time.) Argument: the folder of the virtual environment's programs.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$DAGSTER_HOME"
[ -e "$DAGSTER_HOME/dagster.yaml" ] || cp dagster_home/dagster.yaml "$DAGSTER_HOME/"
stamp="$DAGSTER_HOME/.pools"
[ -e "$stamp" ] && exit 0
if ! command -v nvidia-smi >/dev/null; then
  processors=$("$1/python" -c 'import os; print(os.cpu_count() or 1)')
  for pool in gpu worker; do "$1/dagster" instance concurrency set "$pool" "$processors" >/dev/null; done
fi
touch "$stamp"
