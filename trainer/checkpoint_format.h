#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "trainer/checkpoint.h"

namespace musher {

/// What the writer and the reader of checkpoints must agree on (docs/formats.md). Private to them.

struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

/// The elements of a flat buffer of `total` that a slice holds.
ElementRange slice_range(std::int64_t total, Slicing slicing);

/// "slice-00001-of-00004.safetensors"
std::string slice_name(Slicing slicing);

/// Of a slice's safetensors metadata: TrainingState::samples_trained.
inline constexpr const char* kSamplesTrained = "samples_trained";

/// The manifest's "header", the same from every slice.
nlohmann::ordered_json header_json(const CheckpointIdentity& identity, const TrainingState& state,
                                   int slices);
/// Step and tally of a header. nlohmann's or std's exceptions for one that is malformed.
TrainingState state_from(const nlohmann::ordered_json& header);

/// kFailedPrecondition naming all in which a header's identity is not `mine`; `where` is the
/// checkpoint.
void check_identity(const nlohmann::ordered_json& header, const CheckpointIdentity& mine,
                    const std::string& where);

}  // namespace musher
