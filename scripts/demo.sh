#!/bin/sh
# Lamplighter ships itself: two releases of the `client` program, published, served, installed, updated, broken, healed.
#
# usage: scripts/demo.sh      (`make demo`); needs cargo and nothing else; leaves nothing behind but target/
#
# Every line that begins with `$` is a command as anyone would type it; what follows it is what it printed.
set -eu
cd "$(dirname "$0")/.."
repository=$PWD
cargo=${CARGO:-cargo}
built=${CARGO_TARGET_DIR:-$repository/target}/release
server=
logged=0
work=$(mktemp -d "${TMPDIR:-/tmp}/lamplighter-demo.XXXXXX")

clean_up() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n# %s\n' "$*"; }

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

# As `show`, for a command that is expected to report something by its exit code.
show_code() {
    printf '\n$ %s\n' "$*"
    code=0
    "$@" || code=$?
    printf '(exit code %s)\n' "$code"
}

build() {
    "$cargo" build --quiet --release --workspace --locked "$@"
}

# The documents of a release; the programs come from the two builds.
fill() {
    mkdir -p "$1/docs"
    cp "$2" "$1/client"
    cp README.md CHANGELOG.md "$1/docs/"
}

make_releases() {
    say "Building the programs, and the client twice: the second time with other compiler settings."
    # The second build first: the first one leaves target/release as everything else expects it.
    build --bin client --config 'profile.release.package.lamplighter-client.opt-level=1'
    fill "$work/build-2" "$built/client"
    # Where the tests were built, the example makes it the same build.
    build --bins ${CI:+--example histories}
    fill "$work/build-1" "$built/client"
    cp LICENSE-MIT LICENSE-APACHE CONTRIBUTING.md "$work/build-1/"
    # What happens between two releases: a file joins, one goes, two move, one is edited, the program changes.
    mkdir "$work/build-2/licenses"
    cp LICENSE-MIT "$work/build-2/licenses/MIT.txt"
    cp LICENSE-APACHE "$work/build-2/licenses/Apache-2.0.txt"
    cp docs/*.md "$work/build-2/docs/"
    printf '\nThis is the second release.\n' >>"$work/build-2/docs/README.md"
}

# On a free loopback port, until the demo ends.
serve() {
    printf '\n$ publisher serve --site site --listen 127.0.0.1:0 &\n'
    publisher serve --site site --listen 127.0.0.1:0 >serve.log 2>&1 &
    server=$!
    url=
    while [ -z "$url" ]; do
        sleep 0.2
        if ! kill -0 "$server" 2>/dev/null; then
            cat serve.log
            exit 1
        fi
        url=$(sed -n 's|^serving .* at \(http://[0-9.:]*\)/*$|\1|p' serve.log)
    done
    cat serve.log
}

# What the server handed out since the last call.
served() {
    printf '\n(the server handed out)\n'
    sleep 0.2
    sed "1,${logged}d" serve.log
    logged=$(wc -l <serve.log)
}

publish() {
    show publisher build-release --site site --app org.lamplighter.demo --channel stable --build "$1" --version "$2" \
        --platform any="build-$1" --keys keys
}

make_releases
mkdir "$work/bin"
cp "$built/client" "$built/publisher" "$work/bin/"
PATH=$work/bin:$PATH
export PATH
cd "$work"

say "The publisher: keys and a site once, then one command a release."
show publisher keygen --out keys
show publisher init --site site --app org.lamplighter.demo --keys keys
publish 1 1.0.0

say "Any web server will do; this one serves files and nothing more."
serve

say "The client: install, then look for something new."
show client install --site "$url" --root site/root/1.root --app org.lamplighter.demo --channel stable \
    --platform any --tree app
show_code client check --tree app

say "A second release, and the update to it."
publish 2 1.1.0
show_code client check --tree app
logged=$(wc -l <serve.log)
show client update --tree app
served
show client status --tree app
show diff -r --exclude .lamplighter build-2 app

say "One byte of the program is damaged, a file is lost; both are found, and fetched again."
printf 'X' | dd of=app/client bs=1 seek=4096 conv=notrunc 2>/dev/null
rm app/docs/CHANGELOG.md
show_code client verify --tree app
logged=$(wc -l <serve.log)
show client heal --tree app
served
show client verify --tree app
show diff -r --exclude .lamplighter build-2 app

say "The installed program is the second release, and runs."
show app/client --version
