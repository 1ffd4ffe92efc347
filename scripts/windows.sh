#!/bin/sh
# Builds for Windows with mingw and runs the result under wine, on Debian and its relatives, without a display.
#
# usage: scripts/windows.sh setup          make the standard library and wine's folder, once
#        scripts/windows.sh cargo ARGS     any cargo command for x86_64-pc-windows-gnu; tests run under wine
#        scripts/windows.sh run PROGRAM    run a Windows program under wine
#        scripts/windows.sh test           the tests of the client: library, programs, integration
#
# `make setup-windows` installs the packages first. wine's folder lies beside what scripts/cross.sh keeps.
set -eu
scripts=$(cd "$(dirname "$0")" && pwd)
target=x86_64-pc-windows-gnu
cross=${LAMPLIGHTER_CROSS:-${XDG_CACHE_HOME:-$HOME/.cache}/lamplighter-cross}
WINEPREFIX=$cross/wine
WINEARCH=win64
WINEDEBUG=${WINEDEBUG:--all}
# Neither .NET nor a browser is asked for when the folder is made.
WINEDLLOVERRIDES=${WINEDLLOVERRIDES:-mscoree,mshtml=}
# Half of the time of a build otherwise goes into what no debugger reads.
CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG:-false}
export WINEPREFIX WINEARCH WINEDEBUG WINEDLLOVERRIDES CARGO_PROFILE_DEV_DEBUG

# Rust's standard library takes random numbers from a library that wine has only in later versions than Debian's.
make_random_library() {
    x86_64-w64-mingw32-gcc -O2 -shared -o "$1" -x c - -ladvapi32 <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(void *buffer, ULONG length); /* the documented RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, SIZE_T length)
{
    const SIZE_T step_max = 1u << 24;
    while (length > 0) {
        ULONG step = (ULONG)(length < step_max ? length : step_max);
        if (!SystemFunction036(buffer, step)) return FALSE;
        buffer += step;
        length -= step;
    }
    return TRUE;
}
C
}

make_prefix() {
    system=$WINEPREFIX/drive_c/windows/system32
    [ ! -e "$WINEPREFIX/ready" ] || return 0
    mkdir -p "$cross"
    log=$(mktemp)
    if ! { wineboot --init && wine winecfg -v win10 && wineserver -w; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        exit 1
    fi
    rm -f "$log"
    [ -e "$system/bcryptprimitives.dll" ] || make_random_library "$system/bcryptprimitives.dll"
    : >"$WINEPREFIX/ready"
}

set_up() {
    "$scripts/cross.sh" std "$target"
    make_prefix
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    setup) set_up ;;
    cargo) exec "$scripts/cross.sh" cargo "$target" "$@" ;;
    run) exec wine "$@" ;;
    test)
        set_up
        exec "$scripts/cross.sh" cargo "$target" test --locked -p lamplighter-client "$@"
        ;;
    *)
        sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
