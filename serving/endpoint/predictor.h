#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace musher {

/// A model that answers, with what is done to a picture before it. Several instances of the model
/// may be behind it.
class Predictor {
 public:
  virtual ~Predictor() = default;

  /// Of one sample, e.g. {3, 224, 224}.
  virtual const std::vector<std::int64_t>& input_shape() const = 0;
  /// Logits of one sample.
  virtual std::size_t outputs() const = 0;

  /// A picture's bytes to the product of input_shape() floats. kDataLoss for what can't be decoded.
  /// Any number of threads at once.
  virtual void decode(std::span<const std::byte> picture, float* out) const = 0;

  /// `inputs` of `samples` samples one after another, to `outputs` likewise. One thread at a time
  /// for each instance.
  virtual void predict(std::size_t instance, std::span<const float> inputs, std::size_t samples,
                       std::span<float> outputs) = 0;
};

}  // namespace musher
