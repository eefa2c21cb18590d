#include "trainer/feature_cache.h"

#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

namespace musher {

at::Tensor FeatureCache::features(std::span<const std::uint64_t> keys, c10::Device device,
                                  const Compute& compute) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> rows(keys.size());
  std::vector<std::int64_t> missing;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto found = rows_.find(keys[i]);
    if (found == rows_.end()) {
      missing.push_back(static_cast<std::int64_t>(i));
    } else {
      rows[i] = found->second;
    }
  }
  if (missing.empty()) return at::stack(rows).to(device);
  const at::Tensor computed = compute(at::tensor(missing, at::kLong).to(device));
  const at::Tensor host = computed.cpu();
  for (std::size_t i = 0; i < missing.size(); ++i) {
    at::Tensor& row = rows[static_cast<std::size_t>(missing[i])];
    row = host[static_cast<std::int64_t>(i)];
    const auto size = static_cast<std::int64_t>(row.nbytes());
    if (bytes_ + size > limit_) continue;
    row = row.clone();  // not a view, which would keep the whole batch
    if (rows_.emplace(keys[static_cast<std::size_t>(missing[i])], row).second) bytes_ += size;
  }
  return missing.size() == keys.size() ? computed : at::stack(rows).to(device);
}

}  // namespace musher
