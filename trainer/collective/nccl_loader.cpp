#include "trainer/collective/nccl_loader.h"

#include <system_error>

#include <dlfcn.h>
#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

decltype(&musher_make_nccl_collective) load(const std::filesystem::path& module) {
  // The handle is kept: NCCL's threads outlive any collective.
  void* handle = dlopen(module.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* symbol = handle == nullptr ? nullptr : dlsym(handle, "musher_make_nccl_collective");
  if (symbol == nullptr) {
    throw Error(
        ErrorCode::kFailedPrecondition,
        fmt::format("training on GPUs needs the module {}: {}", module.string(), dlerror()));
  }
  return reinterpret_cast<decltype(&musher_make_nccl_collective)>(symbol);
}

}  // namespace

std::filesystem::path nccl_module() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() /
         "libmusher_nccl.so";
}

std::unique_ptr<Collective> load_nccl_collective(const std::filesystem::path& module,
                                                 std::unique_ptr<Collective> bootstrap,
                                                 const NcclOptions& options, Deadline deadline) {
  const auto make = load(module);
  return std::unique_ptr<Collective>(make(bootstrap.release(), &options, &deadline));
}

}  // namespace musher
