# Warnings and sanitizers of Musher's own code. Third-party headers come in as SYSTEM includes.
add_library(musher_options INTERFACE)
target_compile_options(musher_options INTERFACE -Wall -Wextra -Werror)
if(MUSHER_SANITIZE)
  # -O1: half the time to compile. GCC 12 takes instrumented standard headers for uninitialised reads.
  add_compile_options(-fsanitize=${MUSHER_SANITIZE} -fno-omit-frame-pointer -O1 -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${MUSHER_SANITIZE})
  if(MUSHER_SANITIZE MATCHES undefined)
    add_compile_options(-fno-sanitize-recover=all)
  endif()
  if(MUSHER_SANITIZE MATCHES thread)
    add_compile_options("SHELL:-include ${CMAKE_CURRENT_LIST_DIR}/thread_sanitizer.h")
  endif()
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()
