#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>

#include <ATen/core/Tensor.h>

namespace musher {

/// What a frozen backbone makes of samples, so that each goes through it once. For inputs that are
/// the same whenever a sample comes. Lies in host memory, up to a limit: what comes after that is
/// computed each time. Not thread-safe.
class FeatureCache {
 public:
  /// `limit`: bytes of features, without what keeping them costs (about 200 for a sample).
  explicit FeatureCache(std::int64_t limit) : limit_(limit) {}

  /// The features of the samples with `keys`, [samples, …] on `device`. `compute` is asked for
  /// those of the positions (ascending) that are not there.
  using Compute = std::function<at::Tensor(const at::Tensor& positions)>;
  at::Tensor features(std::span<const std::uint64_t> keys, c10::Device device,
                      const Compute& compute);

  std::size_t samples() const { return rows_.size(); }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t limit_;
  std::int64_t bytes_ = 0;
  std::unordered_map<std::uint64_t, at::Tensor> rows_;
};

}  // namespace musher
