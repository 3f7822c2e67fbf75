# SPDX-License-Identifier: LGPL-2.1-or-later
# heapwalk for aarch64, compiled on another machine and run there by qemu-user; tests/foreign/host.py does it:
#   cmake -S . -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=tests/foreign/aarch64.cmake -DHEAPWALK_SYSROOT=DIR/bookworm-arm64
# The sysroot is a chroot by `tests/matrix/foreign.sh --build arm64`: its libraries and headers.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

# What cmake compiles to try the compiler is configured anew, and is told the sysroot this way.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES HEAPWALK_SYSROOT)
set(CMAKE_SYSROOT ${HEAPWALK_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(hw_libraries ${HEAPWALK_SYSROOT}/usr/lib/aarch64-linux-gnu)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${HEAPWALK_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${hw_libraries}/pkgconfig:${HEAPWALK_SYSROOT}/usr/share/pkgconfig)

# The programs name their loader and their libraries in the sysroot, so that they run without changing the root:
# what they open are the files that a program of this machine opens. RPATH, unlike RUNPATH, is the libraries' too.
string(CONCAT CMAKE_EXE_LINKER_FLAGS_INIT
  "-Wl,--dynamic-linker=${HEAPWALK_SYSROOT}/lib/ld-linux-aarch64.so.1 "
  "-Wl,-rpath,${hw_libraries} -Wl,--disable-new-dtags")
