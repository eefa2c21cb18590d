#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// The candidate that a person most likely meant: the smallest edit distance, without regard to
/// case and '-' or '_'. Empty where none is near.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

/// `; did you mean "epochs"?`, or the list of what is known where nothing is near.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

/// The text in quotes for a message of one line: without control characters, and cut where it is
/// long.
std::string in_quotes(std::string_view text);

/// As in_quotes(), without the quotes: a name that a request brought along, as part of a path.
std::string readable(std::string_view text);

}  // namespace musher
