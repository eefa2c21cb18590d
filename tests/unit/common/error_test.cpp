#include "common/error.h"

#include <set>

#include <gtest/gtest.h>

namespace musher {
namespace {

TEST(Error, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  const int last = static_cast<int>(ErrorCode::kInternal);
  for (int code = 0; code <= last; ++code) names.insert(to_string(static_cast<ErrorCode>(code)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(last + 1));
  EXPECT_FALSE(names.contains("unknown error"));
  EXPECT_EQ(to_string(ErrorCode::kNotFound), "not found");
}

TEST(Error, OnlyWhatMayPassByItselfIsRetried) {
  EXPECT_TRUE(retry_helps(ErrorCode::kUnavailable));
  EXPECT_TRUE(retry_helps(ErrorCode::kDeadlineExceeded));
  EXPECT_FALSE(retry_helps(ErrorCode::kPermissionDenied));
  EXPECT_FALSE(retry_helps(ErrorCode::kDataLoss));
}

}  // namespace
}  // namespace musher
