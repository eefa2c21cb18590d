#pragma once

#include <cstdint>
#include <memory>

#include "trainer/input/pipeline.h"

namespace musher {

/// Windows of a token stream: samples of shape [context + 1], token ids below `vocabulary` as
/// float32, which holds whole numbers up to 2^24 exactly.
std::unique_ptr<SampleDecoder> make_token_decoder(std::int64_t context, std::int64_t vocabulary);

}  // namespace musher
