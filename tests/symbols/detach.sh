#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# detach.sh FILE DIR: FILE stripped in three ways, its debug information apart.
#   DIR/by-id/lib.so      + DIR/by-id/debug/.build-id/xx/yyy.debug
#   DIR/by-link/lib.so    + DIR/by-link/lib.debug, without a build-id
#   DIR/wrong/lib.so      + a debug file of another build under lib.so's build-id
set -e
objcopy=${OBJCOPY:-objcopy}
file=$1 dir=$2
rm -rf "$dir"
mkdir -p "$dir/by-id" "$dir/by-link" "$dir/wrong"
id=$(readelf -n "$file" | sed -n 's/.*Build ID: //p')
rest=${id#??}
first=${id%"$rest"}

"$objcopy" --strip-all "$file" "$dir/by-id/lib.so"
mkdir -p "$dir/by-id/debug/.build-id/$first"
"$objcopy" --only-keep-debug --compress-debug-sections "$file" \
	"$dir/by-id/debug/.build-id/$first/$rest.debug"

"$objcopy" --remove-section .note.gnu.build-id "$file" "$dir/no-id.so"
"$objcopy" --only-keep-debug "$dir/no-id.so" "$dir/by-link/lib.debug"
"$objcopy" --strip-all "$dir/no-id.so" "$dir/by-link/lib.so"
(cd "$dir/by-link" && "$objcopy" --add-gnu-debuglink=lib.debug lib.so)

"$objcopy" --strip-all "$file" "$dir/wrong/lib.so"
mkdir -p "$dir/wrong/debug/.build-id/$first"
cp "$dir/by-link/lib.debug" "$dir/wrong/debug/.build-id/$first/$rest.debug"
rm "$dir/no-id.so"
