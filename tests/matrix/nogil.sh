#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds a free-threaded CPython, which Debian does not ship, out of Debian's source package, in a chroot that
# chroot.sh made: tests/matrix/run.py --group nogil finds it there.
set -euo pipefail

usage() {
	cat <<'TEXT'
Usage: tests/matrix/nogil.sh [SUITE [PYTHON]]

  SUITE   whose source package it is, and the chroot to build in (default: trixie)
  PYTHON  the package's name (default: python3.13)

As root: a few minutes on two processors and 0.7 GB, in $HEAPWALK_CHROOTS/SUITE/opt/PYTHONt (the chroots are
in /var/tmp/heapwalk-chroots if that is not set). Configured with --disable-gil, -O2 and debug information, without
profiles and link-time optimisation. What is there already is left as it is: remove it to build again.
TEXT
}

suite=${1:-trixie}
python=${2:-python3.13}
case $suite in
-*)
	usage
	[ "$suite" = --help ] && exit 0 || exit 2
	;;
esac
if ! [[ $python =~ ^python3\.[0-9]+$ ]]; then
	usage >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
root=${HEAPWALK_CHROOTS:-/var/tmp/heapwalk-chroots}/$suite
prefix=/opt/${python}t
# Where it is compiled, in the chroot.
work=/var/tmp/heapwalk-$python

inside() {
	chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

# What the interpreter itself and the modules that tests use are compiled with.
build_packages=(gcc libc6-dev make dpkg-dev xz-utils pkgconf libffi-dev zlib1g-dev)

fetch_source() {
	local mirror
	mirror=$(sed -n 's/^deb \([^ ]*\) .*/\1/p' "$root/etc/apt/sources.list" | head -n 1)
	printf 'deb-src %s %s main\n' "$mirror" "$suite" >"$root/etc/apt/sources.list.d/heapwalk-source.list"
	inside apt-get -q update
	inside apt-get -q -y install "${build_packages[@]}"
	inside apt-get -q clean
	rm -rf "${root:?}$work"
	mkdir -p "$root$work"
	# Downloads are made by a user of their own, who can't write there.
	inside sh -c "cd $work && apt-get -q -o APT::Sandbox::User=root --download-only source $python"
	inside sh -c "cd $work && dpkg-source --no-check -x ./*.dsc source"
}

build() {
	inside sh -eu -c "
		mkdir $work/build
		cd $work/build
		../source/configure --prefix=$prefix --disable-gil --without-ensurepip --disable-test-modules \
			OPT='-DNDEBUG -O2 -g -Wall'
		nice make -j$(nproc)
		make install DESTDIR=$work/image" >"$root$work/log" 2>&1 || {
		tail -n 20 "$root$work/log" >&2
		exit 1
	}
}

if [ "$(id -u)" -ne 0 ]; then
	echo "nogil.sh: what is built in a chroot needs root" >&2
	exit 1
fi
if [ ! -x "$root$prefix/bin/${python}t" ]; then
	[ -d "$root" ] || "$here/chroot.sh" "$suite"
	fetch_source
	build
	# Installed elsewhere first: half of it is none.
	mv "$root$work/image$prefix" "$root$prefix"
	rm -rf "${root:?}$work"
fi
printf '%s: ' "$root$prefix/bin/${python}t"
inside "$prefix/bin/${python}t" -VV
