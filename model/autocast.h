#pragma once

#include <optional>

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

namespace musher {

/// While it lives, LibTorch's operators of this thread on tensors of `device` compute in `dtype`
/// (kBFloat16 or kHalf) where that is fit, and in float32 where it is not, as with
/// torch.autocast(device, dtype). Parameters stay float32 and so do their gradients. nullopt: all
/// as ever. Backward belongs outside of it.
class Autocast {
 public:
  Autocast(c10::DeviceType device, std::optional<c10::ScalarType> dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  c10::DeviceType device_;
  bool on_;
  bool was_on_ = false;
  c10::ScalarType was_dtype_ = c10::ScalarType::Float;
};

/// The dtype of the Autocast that is in force on this thread; nullopt: none.
std::optional<c10::ScalarType> autocast_dtype(c10::DeviceType device);

}  // namespace musher
