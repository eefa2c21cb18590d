#pragma once

#include <span>
#include <vector>

#include "dataset/numbers.h"
#include "dataset/sources.h"

namespace musher {

/// The manifest of a channel of tokens, `*.npy` and `*.bin` (dataset/sources.h). Inside dataset.
Manifest token_manifest(ObjectStore& store, const std::vector<ObjectInfo>& objects,
                        const ManifestOptions& options);

/// The tokens of one window into `out`, whose numbers they are exactly: a vocabulary is at most
/// 2^24. kDataLoss for bytes of another length and for a token that is not below `vocabulary`.
void read_tokens(std::span<const std::byte> bytes, NumberType type, std::int64_t vocabulary,
                 std::span<float> out);

}  // namespace musher
