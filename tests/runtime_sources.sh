#!/bin/sh
# runtime_sources.sh RUNTIME: what the headers promise of the sources that ship. nfcc.c holds no floating-point
# instruction, so that its results cannot depend on who compiles it; it is C11 for gcc and clang under the warnings of
# careful users, and says on 32 bits what is wrong; nfcc.h is also C99 and C++.
runtime=$1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
strict="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wmissing-prototypes -Wcast-qual -Wcast-align -Wundef -Werror"
status=0
fail() {
    echo "$*"
    status=1
}

for cc in gcc clang-19 aarch64-linux-gnu-gcc musl-gcc; do
    command -v $cc >/dev/null || continue
    for file in nfcc nfcc_threads; do
        $cc -std=c11 -O2 $strict -c "$runtime/$file.c" -o "$work/$file.o" || fail "$cc does not compile $file.c"
    done
done
echo '#include "nfcc.h"
int main() { return nfcc_status_text(NFCC_OK) == nullptr; }' >"$work/cpp.cc"
g++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$runtime" "$work/cpp.cc" || fail "nfcc.h is not C++"

echo '#include "nfcc.h"' >"$work/c99.c"
gcc -std=c99 $strict -Wc++-compat -fsyntax-only -I "$runtime" "$work/c99.c" || fail "nfcc.h is not C99"
gcc -U__SIZEOF_POINTER__ -D__SIZEOF_POINTER__=4 -E "$runtime/nfcc.c" 2>&1 >/dev/null | grep -q 'error.*64-bit' || fail "32 bits are not refused"

gcc -std=c11 -O0 -c "$runtime/nfcc.c" -o "$work/nfcc.o"
objdump -d --no-show-raw-insn "$work/nfcc.o" >"$work/code" || fail "no disassembly"
arithmetic='\b(v?(add|sub|mul|div|sqrt|min|max|u?comi|round|fn?m(add|sub)[0-9]*)[sp][sd]|v?cvt[a-z0-9]*|f(ld|add|sub|mul|div)[a-z]*)\b'
grep -nE "$arithmetic" "$work/code" && fail "nfcc.c computes with floats"
exit $status
