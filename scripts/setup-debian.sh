#!/bin/sh
# Installs what tests, lint, figures, the comparison with peers and builds for other systems need beyond cargo, on
# Debian and its relatives.
#
# usage: scripts/setup-debian.sh [GROUP...]      groups: test lint compare bench edges store configs page screens embed windows aarch64 dist (default: all)
#
# Installs with apt-get as root, or with sudo where it asks for no password. Where it may not, it names what is
# missing and the command that installs it, and fails. Prints nothing when nothing is missing.
set -eu

scripts=$(dirname "$0")
missing_packages=
missing_other=
status=0

say() { printf 'setup: %s\n' "$*"; }

# need PROGRAM PACKAGE: notes PACKAGE as missing unless PROGRAM is on the path (nginx lies in sbin).
need() {
    command -v "$1" >/dev/null 2>&1 && return 0
    for dir in /usr/sbin /sbin; do
        [ -x "$dir/$1" ] && return 0
    done
    missing_packages="$missing_packages $2"
}

need_component() {
    cargo "$1" --version >/dev/null 2>&1 || missing_other="$missing_other; rustup component add $2"
}

need_package() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed' && return 0
    missing_packages="$missing_packages $1"
}

# The standard library of a target, or what compiles it: Debian's newest compiler with its source.
need_std() {
    "$scripts/cross.sh" native "$1" && return 0
    need_package rustc-web
    need_package cargo-web
    need_package rust-web-src
}

# As root, or through a sudo that asks nothing.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

may_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" = 0 ] || sudo -n true >/dev/null 2>&1
}

# Debian starts a server it installs; the tests start their own, so a newly installed one is put to rest.
rest_server() {
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now "$1" >/dev/null 2>&1 || true
    fi
}

install_packages() {
    [ "$missing_packages" != " " ] || return 0
    if ! may_install; then
        say "missing:$missing_packages"
        say "install with: sudo apt-get install$missing_packages"
        status=1
        return 0
    fi
    log=$(mktemp)
    if ! as_root apt-get update -qq >"$log" 2>&1; then
        say "apt-get update failed; trying with the package lists at hand"
    fi
    for package in $missing_packages; do
        if as_root apt-get install -y -qq --no-install-recommends "$package" >"$log" 2>&1; then
            say "installed $package"
            case $package in nginx | varnish | caddy | apache2) rest_server "$package" ;; esac
        else
            say "could not install $package:"
            tail -n 5 "$log"
            status=1
        fi
    done
    rm -f "$log"
}

install_cargo_deny() {
    cargo deny --version >/dev/null 2>&1 && return 0
    say "building cargo-deny (some minutes, once)"
    log=$(mktemp)
    # Without optimisation, and without what a debugger reads, it builds in half the time and still checks in seconds.
    if CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0 cargo install --quiet --locked --debug cargo-deny >"$log" 2>&1; then
        say "installed cargo-deny into cargo's own folder"
    else
        say "could not install cargo-deny:"
        tail -n 5 "$log"
        status=1
    fi
    rm -f "$log"
}

group_test() {
    need cc gcc
    [ -e /usr/include/stdio.h ] || missing_packages="$missing_packages libc6-dev"
    need diff diffutils
    need minisign minisign
    need openssl openssl
    need nginx nginx
    need b3sum b3sum
    need python3 python3
    python3 -m pip --version >/dev/null 2>&1 || missing_packages="$missing_packages python3-pip"
    need_venv
    # The scheduled jobs of scripts/schedules are read by what reads them in earnest.
    python3 -c 'import yaml' >/dev/null 2>&1 || missing_packages="$missing_packages python3-yaml"
    need systemd-analyze systemd
}

# A folder of its own for what comes with pip: zig for scripts/cross.sh, python-tuf for scripts/oracle.py.
need_venv() {
    need python3 python3
    python3 -c 'import ensurepip' >/dev/null 2>&1 || missing_packages="$missing_packages python3-venv"
}

group_lint() {
    need cc gcc
    need python3 python3
    need git git
    need_component fmt rustfmt
    need_component clippy clippy
    wants_deny=yes
}

group_compare() {
    group_test
    need bsdiff bsdiff
    need xdelta3 xdelta3
    need zstd zstd
    need strace strace
    need mkfs.ext4 e2fsprogs
    need mkfs.xfs xfsprogs
    need mkfs.exfat exfatprogs
    need mount.exfat-fuse exfat-fuse
    need time time
}

# Zucchini is written in C++23, which clang knows from 17 on; Debian has later ones beside its default.
need_clang() {
    for version in 17 18 19 20 21 22 23 24 25 26; do
        command -v "clang++-$version" >/dev/null 2>&1 && return 0
    done
    default=$(clang++ -dumpversion 2>/dev/null || true)
    [ "${default%%.*}" -lt 17 ] 2>/dev/null || [ -z "$default" ] || return 0
    # A fresh system has no package lists to choose from.
    [ -n "$(apt-cache search --names-only '^clang$' 2>/dev/null)" ] || ! may_install || as_root apt-get update -qq >/dev/null 2>&1 || true
    package=$(apt-cache search --names-only '^clang-(1[7-9]|2[0-9])$' 2>/dev/null | cut -d' ' -f1 | sort -V | tail -n 1)
    missing_packages="$missing_packages ${package:-clang}"
}

group_bench() {
    group_compare
    need xz xz-utils
    need make make
    need g++ g++
    need npm npm
    need_clang
}

# Caches in front of a site, and lines that are slow and lose packets.
group_edges() {
    group_test
    need varnishd varnish
    need curl curl
    need ip iproute2
    need tc iproute2
    need nft nftables
}

# The servers `publisher configure` speaks of.
group_configs() {
    group_test
    need caddy caddy
    need apache2 apache2
}

# A browser that needs no screen.
group_page() {
    need cc gcc
    need python3 python3
    need chromium chromium
    need_package fonts-dejavu-core
}

# S3 servers come with pip into a folder of their own (scripts/buckets.py).
group_store() {
    need_venv
    need diff diffutils
    python3 -m pip --version >/dev/null 2>&1 || missing_packages="$missing_packages python3-pip"
}

# A screen without a desk, software drawing, and a hand on the mouse.
group_screens() {
    group_test
    need Xvfb xvfb
    need xdotool xdotool
    need import imagemagick
    for package in libgl1-mesa-dri libgl1 libegl1 libxkbcommon-x11-0; do
        need_package "$package"
    done
}

group_windows() {
    need x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64-win32
    need wine wine
    need_package wine64
    need_std x86_64-pc-windows-gnu
}

group_aarch64() {
    need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    need_package libc6-dev-arm64-cross
    need qemu-aarch64-static qemu-user-static
    need_std aarch64-unknown-linux-gnu
}

group_dist() {
    group_windows
    group_aarch64
    need_venv
    need readelf binutils
    need b3sum b3sum
    for target in aarch64-apple-darwin x86_64-apple-darwin; do
        need_std "$target"
    done
}

group_embed() {
    group_test
    need g++ g++
    need readelf binutils
    need mcs mono-mcs
    need mono mono-runtime
    need node nodejs
    need npm npm
    # The part of mono's class library that Func and Action are in is a package of its own.
    [ -n "$(find /usr/lib/mono -name System.Core.dll 2>/dev/null | head -n 1)" ] ||
        missing_packages="$missing_packages libmono-system-core4.0-cil"
}

if ! command -v cargo >/dev/null 2>&1; then
    say "cargo is missing: install Rust first"
    exit 1
fi
wants_deny=no
for group in "${@:-all}"; do
    case $group in
        test) group_test ;;
        lint) group_lint ;;
        compare) group_compare ;;
        bench) group_bench ;;
        edges) group_edges ;;
        configs) group_configs ;;
        page) group_page ;;
        store) group_store ;;
        screens) group_screens ;;
        embed) group_embed ;;
        windows) group_windows ;;
        aarch64) group_aarch64 ;;
        dist) group_dist ;;
        all) group_bench; group_edges; group_store; group_configs; group_page; group_embed; group_lint; group_screens; group_dist ;;
        *) say "unknown group $group: test, lint, compare, bench, edges, store, configs, page, screens, embed, windows, aarch64 or dist"; exit 2 ;;
    esac
done
# Two groups may miss the same package.
missing_packages=$(printf ' %s' $(printf '%s\n' $missing_packages | sort -u))
install_packages
if [ -n "$missing_other" ]; then
    say "missing, install with:${missing_other#;}"
    status=1
fi
[ "$wants_deny" = no ] || [ "$status" != 0 ] || install_cargo_deny
exit "$status"
