#include "serving/payload/media_type.h"

#include <cstdlib>
#include <vector>

namespace musher {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(trimmed(text.substr(0, end)));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

struct Range {
  std::string type;
  double quality = 1;
};

Range parse_range(std::string_view text) {
  Range range;
  range.type = media_type(text);
  for (const std::string_view parameter : split(text, ';')) {
    if (parameter.starts_with("q=") || parameter.starts_with("Q="))
      range.quality = std::strtod(std::string(parameter.substr(2)).c_str(), nullptr);
  }
  return range;
}

/// How exactly the range says the type: 0 not at all, 3 by its whole name.
int precision(const std::string& range, std::string_view type) {
  if (range == type) return 3;
  if (range == "*/*" || range == "*") return 1;
  const bool family = range.ends_with("/*") && type.starts_with(range.substr(0, range.size() - 1));
  return family ? 2 : 0;
}

}  // namespace

std::string media_type(std::string_view header) {
  std::string type(trimmed(header.substr(0, header.find(';'))));
  for (char& c : type) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return type;
}

std::optional<std::string_view> choose_media_type(std::string_view accept,
                                                  std::span<const std::string_view> offered) {
  if (trimmed(accept).empty()) return offered.front();
  std::vector<Range> ranges;
  for (const std::string_view part : split(accept, ',')) ranges.push_back(parse_range(part));
  std::optional<std::string_view> best;
  double best_quality = 0;
  for (const std::string_view type : offered) {
    int precise = 0;
    double quality = 0;
    for (const Range& range : ranges) {
      if (precision(range.type, type) <= precise) continue;
      precise = precision(range.type, type);
      quality = range.quality;
    }
    if (quality > best_quality) {
      best = type;
      best_quality = quality;
    }
  }
  return best;
}

}  // namespace musher
