#pragma once

#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/random.h"
#include "storage/object_store.h"

namespace musher {

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

inline std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Bytes that look like nothing else, the same for the same seed.
inline std::string noise(std::size_t size, std::uint64_t seed) {
  Random random{seed};
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random.next());
  return text;
}

inline std::vector<std::string> keys_of(ObjectStore& store, std::string_view prefix = "") {
  std::vector<std::string> keys;
  for (const auto& object : list_sorted(store, prefix)) keys.push_back(object.key);
  return keys;
}

/// That `call` throws an Error with this code, one line that holds `part`.
template <typename Call>
void expect_error(ErrorCode code, const std::string& part, Call call) {
  try {
    call();
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(part));
    EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("\n")));
  }
}

}  // namespace musher
