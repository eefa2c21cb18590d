#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/model.h"

namespace musher {

/// One parameter's place in the flat buffers.
struct ParameterSlot {
  std::string name;
  at::Tensor parameter;     ///< the model's own; its data is a view of FlatParameters::values()
  std::int64_t offset = 0;  ///< elements
  std::int64_t count = 0;
};

/// The trainable parameters of a model in one flat float32 buffer, and beside it a flat buffer for
/// their gradients whose last `tail` elements belong to whoever reduces them (the step vector).
/// Slots lie in the reverse of the model's order, about the order in which backward produces
/// gradients, each on a 64-byte boundary; the gaps are zero and stay zero. One all-reduce, one
/// optimizer kernel and one checkpoint slice then work on plain ranges. Not thread-safe.
class FlatParameters {
 public:
  /// Moves the model's parameters that require gradients into the flat buffer; their `.data` become
  /// views of it. `gradients` may give the memory for the gradients (at least gradient_elements()
  /// float32, zeroed by the caller, alive as long as this), for a collective that wants it in a
  /// place of its own; an empty tensor where set_gradients() will give it before it is needed.
  /// kInvalidArgument for a parameter that is not float32.
  FlatParameters(Model& model, std::int64_t tail, at::Tensor gradients = {});

  /// Elements that the gradient buffer of `model` needs, tail included.
  static std::int64_t gradient_elements(Model& model, std::int64_t tail);

  /// Other memory for the gradients, as in the constructor; what was in them is lost.
  void set_gradients(at::Tensor gradients) { gradients_ = std::move(gradients); }

  const std::vector<ParameterSlot>& slots() const { return slots_; }
  /// Elements of values(), gaps included.
  std::int64_t size() const { return values_.numel(); }
  const at::Tensor& values() const { return values_; }        ///< [size()] float32
  const at::Tensor& gradients() const { return gradients_; }  ///< [size() + tail] float32
  /// Elements of gradients().
  std::int64_t gradient_size() const { return size() + tail_; }
  at::Tensor gradient_values() const { return gradients_.narrow(0, 0, size()); }
  at::Tensor tail() const { return gradients_.narrow(0, size(), tail_); }

 private:
  std::vector<ParameterSlot> slots_;
  std::int64_t tail_;
  at::Tensor values_;
  at::Tensor gradients_;
};

}  // namespace musher
