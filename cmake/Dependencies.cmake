# Every third party, once, as an imported target `musher::dep_<name>`. A room links just those it may see.
set(VENV_SITE "${MUSHER_VENV}/lib/python3.11/site-packages")
if(NOT EXISTS "${VENV_SITE}/pyarrow")
  message(FATAL_ERROR "no Python environment at ${MUSHER_VENV}: run launch/setup first")
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost REQUIRED COMPONENTS program_options)
find_package(CURL REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(LibArchive REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Protobuf REQUIRED)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp libwebpdemux)
# The core alone: pages of metrics go out by servers of our own.
pkg_check_modules(PROMETHEUS REQUIRED IMPORTED_TARGET prometheus-cpp-core)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
if(MUSHER_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

# venv_target(<name> INCLUDES <folders below site-packages> LIBRARIES <files below site-packages>)
function(venv_target name)
  cmake_parse_arguments(DEP "" "" "INCLUDES;LIBRARIES" ${ARGN})
  add_library(musher_dep_${name} INTERFACE)
  add_library(musher::dep_${name} ALIAS musher_dep_${name})
  foreach(folder IN LISTS DEP_INCLUDES)
    target_include_directories(musher_dep_${name} SYSTEM INTERFACE "${VENV_SITE}/${folder}")
  endforeach()
  foreach(library IN LISTS DEP_LIBRARIES)
    if(NOT EXISTS "${VENV_SITE}/${library}")
      message(FATAL_ERROR "${VENV_SITE}/${library} is missing: run launch/setup again")
    endif()
    get_filename_component(folder "${VENV_SITE}/${library}" DIRECTORY)
    target_link_libraries(musher_dep_${name} INTERFACE "${VENV_SITE}/${library}")
    target_link_options(musher_dep_${name} INTERFACE "-Wl,-rpath,${folder}" "-Wl,-rpath-link,${folder}")
  endforeach()
endfunction()

venv_target(arrow INCLUDES pyarrow/include LIBRARIES pyarrow/libarrow.so.2600 pyarrow/libarrow_s3.so.2600)

# LibTorch without its own find_package, which wants a CUDA toolkit to configure and 25 s to do so. Just the CPU half is
# linked: libtorch_cuda comes with the GPU module, which a process without a GPU never loads.
venv_target(torch
  INCLUDES torch/include torch/include/torch/csrc/api/include
  LIBRARIES torch/lib/libtorch_cpu.so torch/lib/libc10.so)
venv_target(torch_cuda
  LIBRARIES torch/lib/libtorch_cuda.so torch/lib/libc10_cuda.so)
# NCCL and the CUDA runtime; not the drivers.
venv_target(nccl
  INCLUDES nvidia/nccl/include nvidia/cu13/include
  LIBRARIES nvidia/nccl/lib/libnccl.so.2 nvidia/cu13/lib/libcudart.so.13)

# Open MPI 5 from the environment, never the system's, which has no ULFM.
add_library(musher_dep_mpi INTERFACE)
add_library(musher::dep_mpi ALIAS musher_dep_mpi)
target_include_directories(musher_dep_mpi SYSTEM INTERFACE "${MUSHER_VENV}/include")
target_link_libraries(musher_dep_mpi INTERFACE "${MUSHER_VENV}/lib/libmpi.so" Threads::Threads)
target_link_options(musher_dep_mpi INTERFACE "-Wl,-rpath,${MUSHER_VENV}/lib")

# The library by which that Open MPI talks with its launcher.
add_library(musher_dep_pmix INTERFACE)
add_library(musher::dep_pmix ALIAS musher_dep_pmix)
target_link_libraries(musher_dep_pmix INTERFACE "${MUSHER_VENV}/lib/openmpi/libpmix.so.2")
target_link_options(musher_dep_pmix INTERFACE "-Wl,-rpath,${MUSHER_VENV}/lib/openmpi"
  "-Wl,-rpath-link,${MUSHER_VENV}/lib/openmpi")
