#!/bin/sh
# abi.sh NM LIBRARY: the exported symbols are those of abi.txt. To accept a change: abi.sh NM LIBRARY --update
golden=$(dirname "$0")/abi.txt
symbols=$("$1" -D --defined-only "$2" | awk '{print $3}' | LC_ALL=C sort) || exit 1
if [ "$3" = --update ]; then
    printf '%s\n' "$symbols" >"$golden"
    exit
fi
printf '%s\n' "$symbols" | diff -u "$golden" - && exit 0
echo "exported symbols of $2 differ from $golden"
exit 1
