#include "serving/payload/answer.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "serving/payload/array.h"

namespace musher {

std::string write_answer(std::span<const float> logits, std::string_view type) {
  if (!std::ranges::all_of(logits, [](float value) { return std::isfinite(value); })) {
    throw Error(ErrorCode::kInternal, "the model's answer holds a number that is not finite");
  }
  if (type == "text/csv") return fmt::format("{}\n", fmt::join(logits, ","));
  if (type == "application/x-npy") {
    return write_npy(
        {{1, static_cast<std::int64_t>(logits.size())}, {logits.begin(), logits.end()}});
  }
  return fmt::format("[[{}]]", fmt::join(logits, ", "));
}

}  // namespace musher
