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
  constexpr const char* kName = "libmusher_nccl.so";
  std::error_code ignored;
  auto beside_program =
      std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / kName;
  if (std::filesystem::exists(beside_program, ignored)) return beside_program;
  // A program that adds models has this code from libmusher-trainer.so, which the module is beside.
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&nccl_module), &here) != 0) {
    auto beside_library = std::filesystem::path(here.dli_fname).parent_path() / kName;
    if (std::filesystem::exists(beside_library, ignored)) return beside_library;
  }
  return beside_program;
}

std::unique_ptr<Collective> load_nccl_collective(const std::filesystem::path& module,
                                                 std::unique_ptr<Collective> bootstrap,
                                                 const NcclOptions& options, Deadline deadline) {
  const auto make = load(module);
  return std::unique_ptr<Collective>(make(bootstrap.release(), &options, &deadline));
}

}  // namespace musher
