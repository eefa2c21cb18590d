#pragma once

#include <unordered_map>
#include <utility>

#include <ATen/core/Tensor.h>

namespace musher {

/// Where the gradients of parameters are to lie in the end, such as slots of the buffer that is
/// reduced over ranks. A layer that can writes a gradient there at once, which saves memory of its
/// own and a copy; to other layers it means nothing. Not thread-safe.
class GradientPlaces {
 public:
  /// `place`: of the parameter's shape, contiguous; what it holds is of no worth.
  void offer(const at::Tensor& parameter, at::Tensor place) {
    places_[parameter.unsafeGetTensorImpl()] = std::move(place);
  }
  /// The place offered, for the taker to write all of; the next taker gets an undefined tensor.
  at::Tensor take(const at::Tensor& parameter) {
    const auto found = places_.find(parameter.unsafeGetTensorImpl());
    return found == places_.end() ? at::Tensor() : std::exchange(found->second, at::Tensor());
  }
  void withdraw_all() { places_.clear(); }

 private:
  std::unordered_map<const c10::TensorImpl*, at::Tensor> places_;
};

}  // namespace musher
