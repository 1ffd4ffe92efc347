#!/bin/sh
# Publishes a release with Lamplighter, in any CI that has a shell.
#
# usage: ci/publish.sh build | finish | refresh
#
# build signs the release of PLATFORM in DIRECTORY and moves the channel, unless NO_CHANNEL is set; finish moves the channel once
# all platforms named in PLATFORM have the build; refresh signs heads again before they are stale.
#
# SITE         an address such as s3://bucket/app, or a directory
# SITE_CACHE   directory for what is needed of a site elsewhere; kept from run to run it saves time
# UPLOAD_TO    where a site that is a directory goes afterwards
# SITE_URL     address users fetch from, looked at in the end as a client does
# APP, CHANNEL (stable), BUILD, VERSION, PLATFORM, DIRECTORY, ROLLOUT
# LAMPLIGHTER_RELEASE_KEY, LAMPLIGHTER_CHANNEL_KEY   secrets; each only where it is needed
set -eu

: "${SITE:?the site, an address or a directory}" "${APP:?the app id}"
channel=${CHANNEL:-stable}
task=${1:?build, finish or refresh}

run() {
    command=$1
    shift
    publisher "$command" --site "$SITE" ${SITE_CACHE:+--cache "$SITE_CACHE"} --app "$APP" --channel "$channel" "$@"
}

case $task in
build)
    run build-release --build "$BUILD" --version "$VERSION" --platform "$PLATFORM=$DIRECTORY" \
        ${ROLLOUT:+--rollout "$ROLLOUT"} ${NO_CHANNEL:+--no-channel}
    ;;
finish)
    # One flag a platform: the words are meant to be split.
    # shellcheck disable=SC2046,SC2086
    run finish --build "$BUILD" ${ROLLOUT:+--rollout "$ROLLOUT"} $(printf -- '--platform %s ' $PLATFORM)
    ;;
refresh) run refresh ;;
*)
    echo "expected build, finish or refresh, found $task" >&2
    exit 2
    ;;
esac
if [ -n "${UPLOAD_TO:-}" ]; then
    publisher upload --site "$SITE" --to "$UPLOAD_TO"
fi
if [ -n "${SITE_URL:-}" ]; then
    publisher check-remote --app "$APP" --channel "$channel" "$SITE_URL"
fi
