#!/bin/sh
# Makes a disk image of @NAME@ @VERSION@ (build @BUILD@): the bundle, and a link to drag it to.
#
# usage: image.sh [OUT.dmg]      on a Mac; elsewhere it only lays out volume/
#
# volume/ holds the tree as it was published: byte for byte, or its signature and the ticket stapled to it would break. So
# sign, notarise and staple the bundle before `publisher build-release`, and name it with --name '….app'.
# A signed bundle may hold nothing foreign, so the record of what is installed lies beside it, as a hidden folder that
# nobody drags along. The app calls `adopt` once at its first start (or `client adopt --tree …`): it recognises the release
# by its content, and goes by pack from then on. ~/Applications needs no administrator for updates, /Applications may.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-@PACKAGE@-@BUILD@.dmg}
bundle=$here/volume/'@NAME@'
[ -f "$bundle/Contents/Info.plist" ] || {
    echo "$bundle has no Contents/Info.plist: what was published is not the inside of an .app bundle" >&2
    exit 1
}
[ -L "$here/volume/Applications" ] || ln -s /Applications "$here/volume/Applications"
command -v hdiutil >/dev/null || { echo "no hdiutil here: $here/volume is laid out, make the image on a Mac" >&2; exit 0; }
exec hdiutil create -volname '@NAME@' -srcfolder "$here/volume" -fs HFS+ -format UDZO -ov "$out"
