#pragma once

#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace musher::test {

/// The Error that `call` throws; anything else it does is left to the caller's EXPECT to report.
template <typename Call>
std::optional<Error> error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

/// Expects an Error of this code whose one-line message holds each part.
template <typename Call>
void expect_error(ErrorCode code, std::initializer_list<std::string> parts, Call&& call) {
  const auto error = error_of(std::forward<Call>(call));
  ASSERT_TRUE(error.has_value()) << "nothing was thrown";
  const std::string message = error->what();
  EXPECT_EQ(to_string(error->code()), to_string(code)) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const std::string& part : parts) EXPECT_THAT(message, testing::HasSubstr(part));
}

}  // namespace musher::test
