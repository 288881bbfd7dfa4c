# cmake -D TERN_SOURCE_DIR=... -D TERN_VERSION=... -D OUTPUT=version.cc -P version.cmake
# Runs at every build; writes OUTPUT only where its content changes, so nothing is rebuilt needlessly.
find_program(GIT git)
set(TERN_COMMIT "")
if(GIT)
  execute_process(COMMAND ${GIT} describe --always --dirty --abbrev=10 --exclude=*
                  WORKING_DIRECTORY ${TERN_SOURCE_DIR} OUTPUT_VARIABLE TERN_COMMIT
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT TERN_COMMIT)
  set(TERN_COMMIT "unknown")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/version.cc.in ${OUTPUT} @ONLY)
