# room_library(<folder> SOURCES … HEADERS … [LINKS …] [PRIVATE_LINKS …])
#
# A room is one folder and one static library, `musher::<folder>` with '/' as '_'. Its headers are reached as
# "<folder>/<header>" through a symlink in the build tree that only those see who link the room, so that an include across
# a wall that CMake does not know about does not compile.
function(room_library folder)
  cmake_parse_arguments(ROOM "" "" "SOURCES;HEADERS;LINKS;PRIVATE_LINKS" ${ARGN})
  string(REPLACE "/" "_" name "${folder}")
  set(base "${CMAKE_BINARY_DIR}/rooms/${name}")
  get_filename_component(parent "${base}/${folder}" DIRECTORY)
  file(MAKE_DIRECTORY "${parent}")
  file(CREATE_LINK "${CMAKE_SOURCE_DIR}/${folder}" "${base}/${folder}" SYMBOLIC)

  list(TRANSFORM ROOM_HEADERS PREPEND "${base}/${folder}/")
  add_library(musher_${name} STATIC ${ROOM_SOURCES})
  add_library(musher::${name} ALIAS musher_${name})
  target_sources(musher_${name} PUBLIC FILE_SET HEADERS BASE_DIRS "${base}" FILES ${ROOM_HEADERS})
  target_link_libraries(musher_${name} PUBLIC ${ROOM_LINKS} PRIVATE musher_options ${ROOM_PRIVATE_LINKS})
endfunction()

# musher_test(<name> SOURCES … [LINKS …] [LABELS …]): a GoogleTest executable of which each test is a ctest test.
function(musher_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;LINKS;LABELS" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_link_libraries(${name} PRIVATE ${TEST_LINKS} musher_options GTest::gtest GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST TEST_PREFIX "${name}." PROPERTIES TIMEOUT 300 LABELS "unit;${TEST_LABELS}")
endfunction()
