#include "model/script_error.h"

#include <cctype>
#include <string_view>

#include <c10/util/Exception.h>

namespace musher {

std::string script_error(const std::exception& exception) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&exception);
  std::string_view text = torch_error ? torch_error->what_without_backtrace() : exception.what();
  if (const auto stack = text.find("\nException raised from"); stack != std::string_view::npos) {
    text = text.substr(0, stack);
  }
  std::string_view best;
  while (!text.empty()) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.front())))
      line.remove_prefix(1);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())))
      line.remove_suffix(1);
    if (line.find_first_not_of("~^. <-") != std::string_view::npos) best = line;
    if (end == std::string_view::npos) break;
    text = text.substr(end + 1);
  }
  return std::string(best);
}

}  // namespace musher
