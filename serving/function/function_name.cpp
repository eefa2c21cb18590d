#include "serving/function/function_name.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t colon = text.find(':');
    parts.emplace_back(text.substr(0, colon));
    if (colon == text.npos) return parts;
    text.remove_prefix(colon + 1);
  }
}

}  // namespace

std::string FunctionName::arn() const {
  return fmt::format("arn:aws:lambda:{}:{}:function:{}", region, account, name);
}

std::string CalledFunction::arn() const {
  return qualifier.empty() ? function.arn() : function.arn() + ":" + qualifier;
}

void check(const FunctionName& function) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  };
  const std::string& name = function.name;
  if (name.empty() || name.size() > 64 || !std::ranges::all_of(name, good)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("a function's name must be 1 to 64 letters, digits, hyphens and "
                            "underscores, not \"{}\"",
                            name));
  }
}

CalledFunction called_function(std::string_view given, std::string_view qualifier,
                               const FunctionName& here) {
  CalledFunction called{here, std::string(qualifier)};
  const std::vector<std::string> parts = split(given);
  const std::size_t count = parts.size();
  std::size_t name = 0;
  if ((count == 7 || count == 8) && parts[0] == "arn" && parts[1] == "aws" &&
      parts[2] == "lambda" && parts[5] == "function") {
    called.function.region = parts[3];
    called.function.account = parts[4];
    name = 6;
  } else if ((count == 3 || count == 4) && parts[1] == "function") {
    called.function.account = parts[0];
    name = 2;
  } else if (count > 2) {
    called.function.name = given;
    return called;
  }
  called.function.name = parts[name];
  if (called.qualifier.empty() && name + 1 < count) called.qualifier = parts[name + 1];
  return called;
}

}  // namespace musher
