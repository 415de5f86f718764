#!/usr/bin/env bash
# The last step of action.yml: checks every model, for the log, the job's summary and the output.
# Inputs come in variables, never in the script's text.
set -euo pipefail
shopt -s nullglob
shopt -s globstar 2>/dev/null || true # bash 3.2 (macOS) has no **

options=(--budget "$LOWTIDE_BUDGET")
if [[ -n "${LOWTIDE_TARGET:-}" ]]; then
  options+=(--target "$LOWTIDE_TARGET")
fi
if [[ -n "${LOWTIDE_TIME_LIMIT:-}" ]]; then
  options+=(--time-limit "$LOWTIDE_TIME_LIMIT")
fi

models=()
read -r -d '' -a patterns <<<"$LOWTIDE_MODELS" || true
for pattern in "${patterns[@]}"; do
  # Expanded as a file name only; a name without wildcards is kept, and missed later if it is absent.
  # shellcheck disable=SC2206
  IFS='' found=($pattern)
  if ((${#found[@]} == 0)); then
    echo "::error::no file matches the pattern $pattern"
    exit 2
  fi
  models+=("${found[@]}")
done
if ((${#models[@]} == 0)); then
  echo "::error::no models are given: set the input models"
  exit 2
fi

code=0
log=$RUNNER_TEMP/lowtide-fits.txt report=$RUNNER_TEMP/lowtide-fits.jsonl
lowtide fits "${options[@]}" --report "$report" -- "${models[@]}" | tee "$log" || code=$?
{
  echo "### Memory budget $LOWTIDE_BUDGET: $( ((code == 0)) && echo met || echo 'not met')"
  echo '```'
  cat "$log"
  echo '```'
} >>"$GITHUB_STEP_SUMMARY"
if [[ -f "$report" ]]; then
  {
    echo 'report<<LOWTIDE_END'
    cat "$report"
    echo LOWTIDE_END
  } >>"$GITHUB_OUTPUT"
fi
if ((code != 0)); then
  echo "::error title=Memory budget $LOWTIDE_BUDGET::a model does not fit, or cannot be checked; see the log"
fi
exit "$code"
