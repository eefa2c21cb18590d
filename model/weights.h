#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"

namespace musher {

/// safetensors, as Hugging Face's format page has it: 8 bytes of header length, JSON header padded
/// to 8, then the data. Dtypes F64 F32 F16 BF16 I64 I32 U8 BOOL.
std::vector<std::byte> to_safetensors(const NamedTensors& tensors,
                                      const std::map<std::string, std::string>& metadata = {});

/// The same bytes piece by piece, with at most one tensor's copy in memory at a time. Tensors may
/// lie on any device.
void write_safetensors(const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata, const ByteSink& sink);
/// How many bytes write_safetensors() gives.
std::uint64_t safetensors_size(const NamedTensors& tensors,
                               const std::map<std::string, std::string>& metadata);

struct Safetensors {
  std::map<std::string, at::Tensor> tensors;  ///< own their memory
  std::map<std::string, std::string> metadata;
};
/// kDataLoss with `name` in the message for anything that is not whole and well-formed.
Safetensors from_safetensors(std::span<const std::byte> bytes, const std::string& name);

/// The tensors of a file in any of the forms that weights come in, told apart by their first bytes:
/// safetensors, a TorchScript file, or a state dict as torch.save() writes it (state_dict.h), of
/// which nothing is run. kInvalidArgument or kDataLoss with `name` for others.
Safetensors read_weights(std::span<const std::byte> bytes, const std::string& name);

/// Which tensors of a file and of a model go together.
enum class WeightMatch {
  kStrict,  ///< all of both, by name, shape and kind
  kByName,  ///< those of the same name, shape and kind; the model's others stay as they are
};

/// Copies by name into the model's parameters and buffers. What DistributedDataParallel and
/// torch.compile() put before all names, `module.` and `_orig_mod.`, is left out, unless the model
/// has it too. kStrict: kInvalidArgument listing what
/// is missing, superfluous or of another shape; kByName: where nothing goes together. Then nothing
/// was copied. Returns what it did in one line, with the names of what did not match.
std::string load_weights(Model& model, const Safetensors& weights, const std::string& name,
                         WeightMatch match = WeightMatch::kStrict);

}  // namespace musher
