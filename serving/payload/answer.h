#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

namespace musher {

/// What an invocation can be answered in, the default first.
inline constexpr std::array<std::string_view, 3> kAnswerTypes = {"application/json", "text/csv",
                                                                 "application/x-npy"};

/// The logits of one sample: JSON `[[…]]`, a line of CSV, or npy of shape (1, classes), float32.
/// The text is the shortest that gives the same float again. kInternal for a number that is not
/// finite. REQUIRES: one of kAnswerTypes.
std::string write_answer(std::span<const float> logits, std::string_view type);

}  // namespace musher
