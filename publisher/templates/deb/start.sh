#!/bin/sh
# Starts @NAME@ from the user's own copy, which updates itself; the first start makes the copy from what the package
# installed. It appears whole or not at all, also where two first starts meet.
set -eu
here=$(dirname "$(readlink -f "$0")")
installed=$here/../../opt/'@NAME@'
own=${XDG_DATA_HOME:-$HOME/.local/share}/'@NAME@'
if [ ! -e "$own/.lamplighter/installed/release" ]; then
    mkdir -p "$(dirname "$own")"
    fresh=$(mktemp -d "$own.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    cp -R -P -p "$installed/." "$fresh/"
    chmod -R u+rwX "$fresh"
    chmod -R go-rwx "$fresh/.lamplighter"
    mv -T "$fresh" "$own" || [ -e "$own/.lamplighter/installed/release" ]
    rm -rf "$fresh"
    trap - EXIT
fi
exec "$own"/'@ENTRY@' "$@"
