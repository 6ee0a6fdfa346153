#!/bin/sh
# Makes the folder of what a build for another target links to: build-sysroot/TARGET, and
# build-sysroot/root.ini, which tells the cross files where that is. Nothing is installed.
#
#   meson/make_sysroot.sh aarch64-linux-gnu   Debian's arm64 packages, unpacked
#   meson/make_sysroot.sh x86_64-linux-musl   Debian's static libraries, two from source
#
# Needs apt, dpkg and, for musl, musl-gcc and the -dev packages of this machine.
set -eu

cd "$(dirname "$0")/.."
target=$1
top=$PWD/build-sysroot
sysroot=$top/$target
apt=$top/apt

# apt with lists, archives and a state of its own.
apt_here() {
    apt-get -q -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" \
        -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" \
        -o APT::Sandbox::User=root -o Debug::NoLocking=1 "$@"
}

apt_arm64() {
    apt_here -o APT::Architecture=arm64 -o APT::Architectures=arm64 "$@"
}

apt_source() {
    apt_here -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$apt/sources" "$@"
}

# The C library, those that the library uses, and cmocka.
make_aarch64() {
    apt_arm64 update
    apt_arm64 install -y --no-install-recommends --download-only libc6-dev libblis-serial-dev \
        libyaml-dev libjansson-dev libpcre2-dev libsqlite3-dev libcmocka-dev
    for package in "$apt"/cache/archives/*.deb; do
        dpkg -x "$package" "$sysroot"
    done
    # libm.so and others point to /lib, which here is another machine's.
    find "$sysroot" -type l -lname '/*' | while read -r link; do
        ln -sfn "$sysroot$(readlink "$link")" "$link"
    done
}

# Sources by apt, from the lists of this machine.
begin_sources() {
    mkdir -p "$apt/sources"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        [ ! -f "$list" ] || sed -e 's/^Types: .*/Types: deb-src/' -e 's/^deb /deb-src /' \
            "$list" >"$apt/sources/$(basename "$list")"
    done
    apt_source update
}

# A library of C files alone, from Debian's source of it.
#   make_from_source NAME FLAGS...
make_from_source() {
    name=$1
    shift
    mkdir -p "$apt/$name/objects"
    (cd "$apt" && apt_source source --download-only "$name")
    for archive in "$apt/${name}_"*.orig.tar.?z; do
        tar -xf "$archive" -C "$apt/$name" --strip-components 1
    done
    : >"$apt/$name/src/${name}_private_config.h" # what configure would write is in the flags
    for file in "$apt/$name"/src/*.c; do
        musl-gcc -w -O2 -g -fPIC -D_GNU_SOURCE "$@" -I "$apt/$name/include" \
            -I "$sysroot/include" -c "$file" -o "$apt/$name/objects/$(basename "$file").o"
    done
    ar rcs "$sysroot/lib/lib$name.a" "$apt/$name"/objects/*.o
}

# Debian's static libraries as they are, and beside them the names that they ask of glibc alone.
# jansson's cannot go into a shared library with musl, cmocka has none: both are compiled.
make_musl() {
    libraries=/usr/lib/x86_64-linux-gnu
    mkdir -p "$sysroot/include" "$sysroot/lib/pkgconfig"
    musl-gcc -std=c11 -D_GNU_SOURCE -O2 -fPIC -c tests/portability/glibc_names.c \
        -o "$sysroot/lib/glibc_names.o"
    for name in libyaml libpcre2-8 libsqlite3 blis-serial/libblis; do
        ln -s "$libraries/$name.a" "$sysroot/lib/"
    done
    for name in yaml jansson jansson_config pcre2 sqlite3 cmocka; do
        ln -s "$(find /usr/include -maxdepth 2 -name "$name.h" | head -n 1)" "$sysroot/include/"
    done
    ln -s "$(find /usr/include -path '*/blis-serial/blis.h')" "$sysroot/include/"
    begin_sources
    make_from_source jansson -DHAVE_STDINT_H -DHAVE_UNISTD_H -DHAVE_FCNTL_H -DHAVE_OPEN \
        -DHAVE_CLOSE -DHAVE_READ -DHAVE_SCHED_H -DHAVE_SCHED_YIELD -DHAVE_ATOMIC_BUILTINS \
        -DUSE_URANDOM
    make_from_source cmocka -DHAVE_SIGNAL_H -DHAVE_UNISTD_H -DHAVE_STRINGS_H -DHAVE_STDINT_H \
        -DHAVE_INTTYPES_H -DHAVE_MALLOC_H -DHAVE_STRUCT_TIMESPEC -DHAVE_CLOCK_GETTIME
    for name in yaml-0.1 jansson libpcre2-8 sqlite3 cmocka; do
        sed -e "s|=\${prefix}/lib.*|=$sysroot/lib|; s|-L/usr/lib/[^ ]*|-L$sysroot/lib|" \
            -e "s|=\${prefix}/include|=$sysroot/include|; s|-I/usr/include|-I$sysroot/include|" \
            "$libraries/pkgconfig/$name.pc" >"$sysroot/lib/pkgconfig/$name.pc"
    done
}

[ ! -f "$sysroot/complete" ] || exit 0
printf '==> putting what %s needs into %s\n' "$target" "$sysroot"
rm -rf "$apt" "$sysroot"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$sysroot"
: >"$apt/status"
printf "[constants]\nroot = '%s'\n" "$top" >"$top/root.ini"
case $target in
aarch64-linux-gnu) make_aarch64 ;;
x86_64-linux-musl) make_musl ;;
*)
    echo "make_sysroot: no target '$target'" >&2
    exit 1
    ;;
esac
rm -rf "$apt"
: >"$sysroot/complete"
