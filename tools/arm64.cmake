# Toolchain of the `arm64` preset: Debian's cross-compiler, the libraries that tools/arm64-sysroot unpacked, and qemu
# to run the tests.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# Not CMAKE_SYSROOT: Debian's cross-compiler has its C and C++ library outside, and would not look there.
get_filename_component(sysroot "${CMAKE_CURRENT_LIST_DIR}/../build/arm64-sysroot" ABSOLUTE)
if(NOT EXISTS "${sysroot}")
  message(FATAL_ERROR "${sysroot} does not exist; run tools/arm64-sysroot first")
endif()
set(CMAKE_FIND_ROOT_PATH "${sysroot}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(ENV{PKG_CONFIG_LIBDIR} "${sysroot}/usr/lib/aarch64-linux-gnu/pkgconfig:${sysroot}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${sysroot}")
# Libraries of the libraries.
string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${sysroot}/usr/lib/aarch64-linux-gnu")
set(CMAKE_SKIP_RPATH ON)  # qemu finds libraries in the sysroot, an arm64 machine its own

# A Raspberry Pi 5's, which has the dot product; a 4's, cortex-a72, has not.
set(TERN_ARM64_CPU cortex-a76 CACHE STRING "CPU that qemu pretends to be: see `qemu-aarch64 -cpu help`")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu ${TERN_ARM64_CPU} -L "${sysroot}")
