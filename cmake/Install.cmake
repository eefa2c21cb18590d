# `cmake --install build --prefix DIR`: the programs, and what `find_package(Musher)` gives to a program that adds models to
# the trainer: the target Musher::trainer, one shared library, with the headers of a model and no others.
#
# What is installed goes on using the pinned Python environment (LibTorch, Open MPI, Arrow) where launch/setup put it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_filename_component(MUSHER_VENV_REAL "${MUSHER_VENV}" REALPATH)
set(site "${MUSHER_VENV_REAL}/lib/python3.11/site-packages")
set(CMAKE_INSTALL_RPATH "${MUSHER_VENV_REAL}/lib" "${MUSHER_VENV_REAL}/lib/openmpi" "${site}/torch/lib" "${site}/pyarrow")

# At the end, when all targets are there.
function(install_musher)
  set(package "${CMAKE_INSTALL_LIBDIR}/cmake/Musher")
  install(TARGETS musher musher-trainer musher-endpoint)
  # Beside the programs and beside the library: trainer/collective/nccl_loader.cpp looks there.
  install(TARGETS musher_nccl LIBRARY DESTINATION "${CMAKE_INSTALL_BINDIR}")
  install(TARGETS musher_nccl LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  install(TARGETS musher_trainer_shared EXPORT MusherTargets
    INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" "${CMAKE_INSTALL_INCLUDEDIR}/musher")
  # "model/layers.h" in a header is <musher/model/layers.h> to who uses it: both are found.
  foreach(header common/error.h model/added_models.h model/gradient_places.h model/layers.h model/model.h trainer/program.h)
    get_filename_component(room "${header}" DIRECTORY)
    install(FILES "${header}" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/musher/${room}")
  endforeach()

  install(EXPORT MusherTargets NAMESPACE Musher:: DESTINATION "${package}")
  configure_package_config_file(cmake/MusherConfig.cmake.in "${CMAKE_BINARY_DIR}/MusherConfig.cmake"
    INSTALL_DESTINATION "${package}")
  write_basic_package_version_file("${CMAKE_BINARY_DIR}/MusherConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
  install(FILES "${CMAKE_BINARY_DIR}/MusherConfig.cmake" "${CMAKE_BINARY_DIR}/MusherConfigVersion.cmake"
    DESTINATION "${package}")
endfunction()
