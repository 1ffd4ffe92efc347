#!/bin/sh
# Cargo for another platform: finds or makes the target's standard library, and sets linker, C compiler and runner.
#
# usage: scripts/cross.sh native TRIPLE        succeed if the toolchain on the path has the target's standard library
#        scripts/cross.sh std TRIPLE           make the standard library, unless it is at hand
#        scripts/cross.sh cargo TRIPLE ARGS    cargo ARGS for TRIPLE; tests and `cargo run` go through wine or qemu
#        scripts/cross.sh zig TRIPLE ARGS      cargo-zigbuild ARGS for TRIPLE[.GLIBC]: zig compiles C and links
#        scripts/cross.sh dir TRIPLE           print where the artefacts of TRIPLE go
#
# Where the toolchain on the path has the target's standard library (`rustup target add`) it is used. Else Debian's
# compiler is, with the standard library compiled once from the source Debian packages with it.
# LAMPLIGHTER_CROSS keeps what is made once (default: lamplighter-cross in the user's cache folder).
set -eu
cd "$(dirname "$0")/.."
cross=${LAMPLIGHTER_CROSS:-${XDG_CACHE_HOME:-$HOME/.cache}/lamplighter-cross}
sysroot=$cross/sysroot
debian_rustc=/usr/bin/rustc
debian_cargo=/usr/bin/cargo

say() { printf 'cross: %s\n' "$*" >&2; }

# Whether the toolchain on the path can build for the target without help.
is_native() {
    [ -n "$1" ] || return 1
    command -v rustc >/dev/null 2>&1 || return 1
    libraries=$(rustc --print target-libdir --target "$1" 2>/dev/null) || return 1
    [ -n "$(find "$libraries" -name 'libstd-*.rlib' 2>/dev/null | head -n 1)" ]
}

# An empty crate that depends on all of std makes cargo compile it; only the libraries are kept. The switch that allows
# it on a stable compiler is set for this one build of the compiler's own source. Its variables are the whole script's, and
# `target` is the caller's, with the version of glibc.
make_std() {
    std_target=$1
    libraries=$sysroot/lib/rustlib/$std_target/lib
    version=$($debian_rustc -V)
    [ "$(cat "$libraries/version" 2>/dev/null)" != "$version" ] || return 0
    say "compiling the standard library for $std_target (a minute or two, once)"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    mkdir "$scratch/src"
    : >"$scratch/src/lib.rs"
    printf '[package]\nname = "nothing"\nversion = "0.0.0"\nedition = "2021"\n' >"$scratch/Cargo.toml"
    (
        cd "$scratch"
        export RUSTC=$debian_rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$scratch/target"
        unset RUSTFLAGS CARGO_BUILD_TARGET
        $debian_cargo build --quiet --release -Zbuild-std=std,panic_unwind,test --target "$std_target"
    )
    rm -rf "$libraries"
    mkdir -p "$libraries"
    cp "$scratch/target/$std_target/release/deps/"lib*.rlib "$libraries"
    rm -f "$libraries"/libnothing*
    rm -rf "$scratch"
    trap - EXIT
    printf '%s\n' "$version" >"$libraries/version"
}

# cargo-zigbuild names no version of macOS, and zig would then take a recent one as the oldest to run on. So a script stands
# before zig that names the first version for Apple's processors. zig reads no other switch for it, and the first one counts.
make_zig_front() {
    zig=$(echo "$cross"/zig/lib/python3*/site-packages/ziglang/zig)
    [ -e "$zig.real" ] || mv "$zig" "$zig.real"
    cat >"$zig.new" <<'SH'
#!/bin/sh
for argument; do
    shift
    case $argument in aarch64-macos-none | x86_64-macos-none) argument=${argument%-none}.11.0-none ;; esac
    set -- "$@" "$argument"
done
exec "$0.real" "$@"
SH
    chmod +x "$zig.new"
    mv "$zig.new" "$zig"
}

# Both are new and change often, so both are pinned.
make_zig() {
    pins='ziglang==0.17.1 cargo-zigbuild==0.24.0'
    [ "$(cat "$cross/zig/pins" 2>/dev/null)" != "$pins" ] || return 0
    say "installing $pins (once)"
    rm -rf "$cross/zig"
    python3 -m venv "$cross/zig"
    # shellcheck disable=SC2086 -- two arguments
    "$cross/zig/bin/pip" install --quiet $pins
    printf '%s\n' "$pins" >"$cross/zig/pins"
}

variable() { printf 'CARGO_TARGET_%s_%s' "$(printf '%s' "$1" | tr 'a-z-' 'A-Z_')" "$2"; }

# Sets compiler and standard library; says nothing of linkers.
use_toolchain() {
    cargo=${CARGO:-cargo}
    export CARGO_BUILD_TARGET="$1"
    is_native "$1" && return 0
    make_std "$1"
    cargo=$debian_cargo
    export RUSTC=$debian_rustc RUSTDOC=/usr/bin/rustdoc
    export "$(variable "$1" RUSTFLAGS)=--sysroot $sysroot" "$(variable "$1" RUSTDOCFLAGS)=--sysroot $sysroot"
}

# C compiler, linker and runner where Debian has a cross compiler.
use_debian_linker() {
    case $1 in
        x86_64-pc-windows-gnu)
            export "$(variable "$1" LINKER)=x86_64-w64-mingw32-gcc" "$(variable "$1" RUNNER)=$PWD/scripts/windows.sh run"
            ;;
        aarch64-unknown-linux-gnu)
            export "$(variable "$1" LINKER)=aarch64-linux-gnu-gcc"
            export "$(variable "$1" RUNNER)=qemu-aarch64-static -L /usr/aarch64-linux-gnu"
            ;;
        *) say "no linker is known for $1; try: scripts/cross.sh zig $1"; exit 2 ;;
    esac
}

# What zig and Debian's compiler lack for macOS: libraries of Apple's, unless there is an SDK, which cargo-zigbuild finds by
# SDKROOT; and the program rustc takes debug information out with, of which there is none in a release. Its stand-in leaves
# the file as the linker made and signed it.
use_macos_parts() {
    case $1 in *-apple-darwin) ;; *) return 0 ;; esac
    if [ -n "${RUSTC:-}" ]; then
        mkdir -p "$cross/macos-bin"
        printf '#!/bin/sh\n' >"$cross/macos-bin/rust-objcopy"
        chmod +x "$cross/macos-bin/rust-objcopy"
        PATH=$cross/macos-bin:$PATH
    fi
    [ -z "${SDKROOT:-}" ] || return 0
    stubs=$cross/macos-stubs
    python3 scripts/macos_stubs.py "$stubs"
    flags=$(variable "$1" RUSTFLAGS)
    eval "export $flags=\"\${$flags:-} -L framework=$stubs/System/Library/Frameworks -L native=$stubs/usr/lib\""
}

# One folder a target, as one target's compiler need not be another's.
use_target_dir() {
    export CARGO_TARGET_DIR="${CROSS_TARGET_DIR:-$PWD/target/cross}/$1"
}

command=${1:-}
[ $# -lt 2 ] || target=$2
[ $# -lt 2 ] || shift 2
case $command in
    native)
        is_native "$target"
        ;;
    std)
        is_native "$target" || make_std "$target"
        ;;
    dir)
        use_target_dir "$target"
        printf '%s/%s\n' "$CARGO_TARGET_DIR" "$target"
        ;;
    cargo)
        use_toolchain "$target"
        use_debian_linker "$target"
        use_target_dir "$target"
        exec "$cargo" "$@"
        ;;
    zig)
        # The version of glibc is for zig alone: rustc knows the triple without it.
        triple=${target%%.*}
        use_toolchain "$triple"
        make_zig
        make_zig_front
        use_macos_parts "$triple"
        unset CARGO_BUILD_TARGET
        use_target_dir "$triple"
        PATH=$cross/zig/bin:$PATH
        export PATH CARGO="$cargo"
        exec cargo-zigbuild "$@" --target "$target"
        ;;
    *)
        sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
