#!/bin/sh
# Makes a Debian package of @NAME@ @VERSION@ (build @BUILD@), the same bytes each time.
#
# usage: build.sh [OUT.deb]
#
# /opt holds the release as it was published and belongs to root, like all that packages install. Updates write into
# the tree, so each user gets a copy at the first start (package/usr/bin/@PACKAGE@): from then on it updates itself, by
# pack from the first time on. A newer package serves new users; removing the package leaves the users' copies.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-@PACKAGE@_@DEB_VERSION@_@DEB_ARCH@.deb}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-@ISSUED_SECONDS@}
export SOURCE_DATE_EPOCH
exec dpkg-deb --root-owner-group -Zxz --build "$here/package" "$out"
