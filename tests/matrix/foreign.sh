#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes chroots of Debian for other machines, whose processes and cores tests/foreign reads:
# HEAPWALK_TEST_FOREIGN=DIR/bookworm-arm64:DIR/bookworm-i386 tests/foreign/run.py
# and against whose libraries tests/foreign/host.py compiles heapwalk for aarch64.
set -euo pipefail

usage() {
	cat <<'TEXT'
Usage: tests/matrix/foreign.sh [--build] [--suite SUITE] ARCHITECTURE...

  ARCHITECTURE  arm64 (by qemu-user-static) or i386 (which an x86-64 kernel runs itself)
  --build       with the libraries that heapwalk is compiled against: tests/foreign/host.py does it, from outside
  --suite       bookworm, unless it is named: trixie, bullseye

As root, with the packages debootstrap and, for arm64, qemu-user-static: i386 takes two minutes, arm64 ten,
0.6 GB each, below $HEAPWALK_CHROOTS (default /var/tmp/heapwalk-chroots) as SUITE-ARCHITECTURE. What is
there already is brought up to date. The mirror is $HEAPWALK_MIRROR (default http://deb.debian.org/debian).
TEXT
}

chroots=${HEAPWALK_CHROOTS:-/var/tmp/heapwalk-chroots}
mirror=${HEAPWALK_MIRROR:-http://deb.debian.org/debian}
suite=bookworm
packages=(python3 python3-dbg libc6-dbg gcc libc6-dev)
build_packages=(libelf-dev libdw-dev libjson-c-dev libzstd-dev liblz4-dev liblzma-dev zlib1g-dev libdeflate-dev
	libsqlite3-dev)

fail() {
	echo "foreign.sh: $2" >&2
	exit "$1"
}

apt_get() {
	local root=$1
	shift
	chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q "$@"
}

# The kernel is told once which program runs those of that machine; it keeps the program open, so that a
# chroot needs none of its own (flag F).
register_qemu() {
	local name=$1 formats=/proc/sys/fs/binfmt_misc
	[ -e "$formats/register" ] || mount -t binfmt_misc none "$formats" ||
		fail 77 "this kernel has no binfmt_misc"
	[ ! -e "$formats/$name" ] || return 0
	[ -e "/usr/lib/binfmt.d/$name.conf" ] || fail 77 "$name is not installed (package qemu-user-static)"
	cat "/usr/lib/binfmt.d/$name.conf" >"$formats/register"
}

make_chroot() {
	local architecture=$1 root=$chroots/$suite-$1
	# Made under another name first: half a chroot is none.
	if [ ! -d "$root" ]; then
		rm -rf "$root.new"
		debootstrap --arch="$architecture" --variant=minbase "$suite" "$root.new" "$mirror"
		mv "$root.new" "$root"
	fi
	printf '%s\n' 'Acquire::Check-Valid-Until "false";' 'APT::Install-Recommends "false";' \
		>"$root/etc/apt/apt.conf.d/90heapwalk"
	apt_get "$root" update
	apt_get "$root" -y install "${packages[@]}"
	apt_get "$root" clean
	echo "$root: $(chroot "$root" python3 -V), $(chroot "$root" uname -m)"
}

if [ "${1:-}" = --build ]; then
	packages+=("${build_packages[@]}")
	shift
fi
if [ "${1:-}" = --suite ]; then
	[ $# -gt 2 ] || fail 2 "--suite needs a name, and an architecture behind it"
	suite=$2
	shift 2
fi
case ${1:-} in
"" | -*)
	usage
	[ "${1:-}" = --help ] && exit 0 || exit 2
	;;
esac
[ "$(id -u)" -eq 0 ] || fail 1 "making a chroot needs root"
command -v debootstrap >/dev/null || fail 77 "debootstrap is not installed (package debootstrap)"
mkdir -p "$chroots"
for architecture in "$@"; do
	case $architecture in
	arm64) register_qemu qemu-aarch64 ;;
	i386) ;;
	*) fail 2 "$architecture is neither arm64 nor i386" ;;
	esac
	make_chroot "$architecture"
done
