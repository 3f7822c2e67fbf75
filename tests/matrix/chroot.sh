#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes chroots of other Debian suites, with every python3.X they have and its debug build, for the test
# matrix: HEAPWALK_TEST_ROOTS=DIR/sid:DIR/trixie tests/matrix/run.py --group roots
set -euo pipefail

usage() {
	cat <<'TEXT'
Usage: tests/matrix/chroot.sh [--tests] SUITE...

  SUITE    bullseye, bookworm, trixie, forky or sid; experimental: sid with experimental's glibc, without Pythons
  --tests  with what else heapwalk's own tests use in there (tests/matrix/suites.py runs them)

As root, with the package debootstrap: half a minute to two and 0.6 to 2 GB each, below
$HEAPWALK_CHROOTS (default /var/tmp/heapwalk-chroots). Each Python that the suite has comes twice: release
and debug build, with debug information and headers. What is there already is brought up to date. The
mirror is $HEAPWALK_MIRROR (default http://deb.debian.org/debian).
TEXT
}

chroots=${HEAPWALK_CHROOTS:-/var/tmp/heapwalk-chroots}
mirror=${HEAPWALK_MIRROR:-http://deb.debian.org/debian}

# Of experimental, which is no suite of its own: the rest is sid's.
experimental_packages=(libc6 libc-bin libc6-dbg libc6-dev libc-dev-bin)
# Of --tests: jq for gdb's pipe, other mallocs, a compiler for small programs. What it takes to compile heapwalk is
# for ./setup to install.
test_packages=(gcc libc6-dev jq musl-tools libjemalloc2 libtcmalloc-minimal4 libmimalloc2.0 libmimalloc3)
is_for_tests=

apt_get() {
	local root=$1
	shift
	chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q "$@"
}

# configure_apt ROOT SUITE. A release that is no longer renewed has an index that is out of date by its own words.
configure_apt() {
	printf '%s\n' 'Acquire::Check-Valid-Until "false";' 'APT::Install-Recommends "false";' \
		>"$1/etc/apt/apt.conf.d/90heapwalk"
	if [ "$2" = experimental ]; then
		echo "deb $mirror experimental main" >"$1/etc/apt/sources.list.d/experimental.list"
	fi
}

# packages_of ROOT SUITE: python3.X and python2.X with what belongs to each, and what is for tests, as far as
# the suite has it.
packages_of() {
	local root=$1 name suffix
	local -a all
	if [ "$2" = experimental ]; then
		printf '%s\n' "${experimental_packages[@]/%//experimental}" gcc gdb gdbserver
		return
	fi
	mapfile -t all < <(chroot "$root" apt-cache pkgnames)
	for name in $(printf '%s\n' "${all[@]}" | grep -E '^python[23]\.[0-9]+$'); do
		for suffix in "" -dbg -dev -nogil; do
			printf '%s\n' "${all[@]}" | grep -xF "$name$suffix" || true
		done
	done
	if [ -n "$is_for_tests" ]; then
		for name in "${test_packages[@]}"; do
			printf '%s\n' "${all[@]}" | grep -xF "$name" || true
		done
	fi
	echo libc6-dbg gdb gdbserver
}

make_chroot() {
	local suite=$1 root=$chroots/$1 base=$1
	local -a packages
	[ "$suite" != experimental ] || base=sid
	# Made under another name first: half a chroot is none.
	if [ ! -d "$root" ]; then
		rm -rf "$root.new"
		debootstrap --variant=minbase "$base" "$root.new" "$mirror"
		mv "$root.new" "$root"
	fi
	configure_apt "$root" "$suite"
	apt_get "$root" update
	apt_get "$root" -y -f install
	mapfile -t packages < <(packages_of "$root" "$suite" | tr ' ' '\n')
	apt_get "$root" -y install "${packages[@]}"
	apt_get "$root" clean
	printf '%s:' "$root"
	chroot "$root" sh -c 'ls /usr/bin/python[23].* 2>/dev/null' | grep -v config | tr '\n' ' ' || true
	echo
}

if [ "${1:-}" = --tests ]; then
	is_for_tests=1
	shift
fi
case ${1:-} in
"" | -*)
	usage
	[ "${1:-}" = --help ] && exit 0 || exit 2
	;;
esac
if [ "$(id -u)" -ne 0 ]; then
	echo "chroot.sh: making a chroot needs root" >&2
	exit 1
fi
if ! command -v debootstrap >/dev/null; then
	echo "chroot.sh: debootstrap is not installed (package debootstrap)" >&2
	exit 77
fi
mkdir -p "$chroots"
for suite in "$@"; do
	make_chroot "$suite"
done
