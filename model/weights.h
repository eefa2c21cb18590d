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

/// Copies by name into the model's parameters and buffers. kInvalidArgument listing what is
/// missing, superfluous or of another shape; then nothing was copied.
void load_weights(Model& model, const Safetensors& weights, const std::string& name);

}  // namespace musher
