#!/usr/bin/env bash
# The smallest publisher: one event a line. See README.md.
for n in 1 2 3; do
  echo '{"type":"count","id":"bash","payload":'"$n"'}'
done
