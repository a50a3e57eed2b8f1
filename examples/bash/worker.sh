#!/usr/bin/env bash
# A child process in plain mode: reads events line by line, publishes with echo. See README.md.
set -euo pipefail

# Whatever else prints goes to standard error, so that frames have standard output (as 3) for themselves.
exec 3>&1 1>&2

publish() { # type id payload
  echo "{\"type\":\"$1\",\"id\":\"$2\",\"payload\":$3}" >&3
}

publish worker.started "$$" null

while IFS= read -r line || [ -n "$line" ]; do
  # Frames that the library writes have no white space between their members, and type and id first.
  if [[ "$line" =~ ^\{\"type\":\"file.requested\",\"id\":\"([A-Za-z0-9._-]+)\" ]]; then
    file="${BASH_REMATCH[1]}"
    if [ -f "$file" ]; then
      publish file.counted "$file" "{\"bytes\":$(wc -c <"$file" | tr -d ' ')}"
    else
      publish file.missing "$file" null
    fi
  fi
done
echo "worker.sh: the parent is gone, so am I"
