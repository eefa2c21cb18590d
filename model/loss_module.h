#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

namespace musher {

/// A user's own loss, and metrics beside it: a TorchScript module whose `forward(outputs, targets)`
/// returns the loss; or a tuple of the loss and a dict of named metrics; or a dict of both, the
/// loss under "loss". Each is a mean over the samples (a scalar) or has one number a sample ([N]).
/// It runs without the optimising executor, as a TorchScript model does. One thread.
class LossModule {
 public:
  /// `name` is the file's, for messages. `outputs` and `targets` of a few samples are tried at
  /// once: kInvalidArgument with the name and, in one line, what is wrong: no TorchScript,
  /// parameters, which nothing would train, a forward that fails or returns something else, a loss
  /// that does not follow from the outputs, more than `most_metrics` metrics, or one that has a
  /// name of `taken`.
  LossModule(std::span<const std::byte> file, std::string name, const at::Tensor& outputs,
             const at::Tensor& targets, const std::vector<std::string>& taken,
             std::size_t most_metrics);
  ~LossModule();
  LossModule(LossModule&&) noexcept;

  /// Sorted.
  const std::vector<std::string>& metrics() const { return metrics_; }

  /// Sums over samples: the loss, with autograd, and metrics() in their order, without.
  struct Sums {
    at::Tensor loss;
    std::vector<at::Tensor> metrics;
  };
  /// Moves the module to where the outputs are. kInvalidArgument where its forward fails or does
  /// not return what it returned at first.
  Sums operator()(const at::Tensor& outputs, const at::Tensor& targets, bool training);

 private:
  struct Module;
  struct Returned;
  Returned call(const at::Tensor& outputs, const at::Tensor& targets, bool training);
  at::Tensor sum(const at::Tensor& value, const std::string& what, std::int64_t samples) const;
  [[noreturn]] void refuse(const std::string& why) const;

  std::string name_;
  std::unique_ptr<Module> module_;
  std::vector<std::string> metrics_;
};

}  // namespace musher
