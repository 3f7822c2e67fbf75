#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes chroots of other Debian suites, with every python3.X they have and its debug build, for the test
# matrix: HEAPWALK_TEST_ROOTS=DIR/sid:DIR/trixie tests/matrix/run.py --group roots
set -euo pipefail

usage() {
	cat <<'TEXT'
Usage: tests/matrix/chroot.sh SUITE...

  SUITE  bullseye, bookworm, trixie, forky or sid

As root, with the package debootstrap: half a minute to two and 0.6 to 2 GB each, below
$HEAPWALK_CHROOTS (default /var/tmp/heapwalk-chroots). Each Python that the suite has comes twice: release
and debug build, with debug information and headers. What is there already is brought up to date. The
mirror is $HEAPWALK_MIRROR (default http://deb.debian.org/debian).
TEXT
}

chroots=${HEAPWALK_CHROOTS:-/var/tmp/heapwalk-chroots}
mirror=${HEAPWALK_MIRROR:-http://deb.debian.org/debian}

# A release that is no longer renewed has an index that is out of date by its own words.
apt_get() {
	local root=$1
	shift
	chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q \
		-o Acquire::Check-Valid-Until=false -o APT::Install-Recommends=false "$@"
}

# python3.X and python2.X with what belongs to each, as far as the suite has it.
packages_of() {
	local root=$1 name suffix
	local -a all
	mapfile -t all < <(chroot "$root" apt-cache pkgnames python)
	for name in $(printf '%s\n' "${all[@]}" | grep -E '^python[23]\.[0-9]+$'); do
		for suffix in "" -dbg -dev -nogil; do
			printf '%s\n' "${all[@]}" | grep -xF "$name$suffix" || true
		done
	done
	echo libc6-dbg gdb gdbserver
}

make_chroot() {
	local suite=$1 root=$chroots/$1
	local -a packages
	# Made under another name first: half a chroot is none.
	if [ ! -d "$root" ]; then
		rm -rf "$root.new"
		debootstrap --variant=minbase "$suite" "$root.new" "$mirror"
		mv "$root.new" "$root"
	fi
	apt_get "$root" update
	apt_get "$root" -y -f install
	mapfile -t packages < <(packages_of "$root" | tr ' ' '\n')
	apt_get "$root" -y install "${packages[@]}"
	apt_get "$root" clean
	printf '%s:' "$root"
	chroot "$root" sh -c 'ls /usr/bin/python[23].*' | grep -v config | tr '\n' ' '
	echo
}

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
