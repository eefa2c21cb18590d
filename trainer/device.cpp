#include "trainer/device.h"

#include <filesystem>

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include "common/error.h"

namespace musher {

c10::Device choose_device(const std::string& wanted, int local_rank) {
  const bool driver = std::filesystem::exists("/dev/nvidiactl");
  if (wanted == "cpu" || (wanted == "auto" && !driver)) return c10::Device(c10::kCPU);
  if (!driver) {
    throw Error(ErrorCode::kFailedPrecondition,
                "--device gpu: this host has no NVIDIA driver (no /dev/nvidiactl)");
  }
  // RTLD_GLOBAL: the kernels register themselves with libtorch_cpu as they are loaded.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw Error(ErrorCode::kFailedPrecondition,
                std::string("LibTorch's CUDA half can't be loaded: ") + dlerror());
  }
  const int devices = at::detail::getCUDAHooks().deviceCount();
  if (devices == 0) {
    if (wanted == "auto") return c10::Device(c10::kCPU);
    throw Error(ErrorCode::kFailedPrecondition,
                "--device gpu: the driver shows no GPU to this process");
  }
  const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(local_rank % devices));
  c10::impl::VirtualGuardImpl(c10::kCUDA).setDevice(device);
  return device;
}

}  // namespace musher
