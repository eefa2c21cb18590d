#include "serving/access/access_keys.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serving/access/cryptography.h"
#include "support/expect_error.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

constexpr const char* kPolicy =
    R"({"Statement": {"Effect": "Allow", "Action": "a:b", "Resource": "*"}})";

class AccessKeysTest : public testing::Test {
 public:
  AccessKeysTest()
      : folder_(fs::path(testing::TempDir()) /
                (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + "-" +
                 std::to_string(getpid()))) {}
  ~AccessKeysTest() override { fs::remove_all(folder_); }

 protected:
  std::string text_of(const char* file) const {
    std::ifstream in(folder_ / file);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }

  const fs::path folder_;
};

TEST_F(AccessKeysTest, AKeyIsFoundAgainByAnotherProcess) {
  const auto created = AccessKeys(folder_).create("function", kPolicy);
  EXPECT_EQ(created.id.size(), 20u);
  EXPECT_EQ(created.secret.size(), 40u);
  AccessKeys keys(folder_, "123456789012");
  const auto key = keys.find(created.id);
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(key->secret, created.secret);
  EXPECT_EQ(key->user_arn, "arn:aws:iam::123456789012:user/function");
  EXPECT_EQ(key->policy.decide("a:b", "*"), AccessPolicy::Verdict::kAllowed);
  EXPECT_FALSE(keys.find("MSHRAAAAAAAAAAAAAAAA").has_value());
}

TEST_F(AccessKeysTest, WhatIsMadeOrRemovedBesideIsSeen) {
  AccessKeys keys(folder_);
  EXPECT_FALSE(keys.find("MSHRAAAAAAAAAAAAAAAA").has_value());
  const auto first = AccessKeys(folder_).create("one", kPolicy);
  const auto second = AccessKeys(folder_).create("two", kPolicy);
  EXPECT_TRUE(keys.find(first.id).has_value());
  AccessKeys(folder_).remove(first.id);
  EXPECT_FALSE(keys.find(first.id).has_value());
  EXPECT_TRUE(keys.find(second.id).has_value());
  expect_error(ErrorCode::kNotFound, {first.id}, [&] { keys.remove(first.id); });
}

TEST_F(AccessKeysTest, FilesAreTheOwnersAloneAndHoldNoSecretInTheClear) {
  const auto created = AccessKeys(folder_).create("one", kPolicy);
  for (const auto& entry : fs::directory_iterator(folder_)) {
    EXPECT_EQ(entry.status().permissions() & fs::perms(077), fs::perms::none) << entry.path();
  }
  EXPECT_EQ(fs::status(folder_).permissions() & fs::perms(077), fs::perms::none);
  for (const char* file : {"access-keys.json", "secret.key"}) {
    const std::string text = text_of(file);
    EXPECT_FALSE(text.empty());
    EXPECT_EQ(text.find(created.secret), text.npos);
    EXPECT_EQ(text.find(from_base64(created.secret)), text.npos);
  }
  EXPECT_EQ(AccessKeys(folder_).list().at(0).policy_json.find(created.secret), std::string::npos);
}

TEST_F(AccessKeysTest, FilesThatOthersMayReadAreRefused) {
  const auto created = AccessKeys(folder_).create("one", kPolicy);
  for (const char* file : {"access-keys.json", "secret.key"}) {
    const std::string path = folder_ / file;
    ASSERT_EQ(chmod(path.c_str(), 0640), 0);
    expect_error(ErrorCode::kFailedPrecondition, {path, "chmod 600"},
                 [&] { AccessKeys(folder_).find(created.id); });
    ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  }
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  expect_error(ErrorCode::kFailedPrecondition, {"chmod 700"}, [&] { AccessKeys keys(folder_); });
}

TEST_F(AccessKeysTest, DamageIsNamed) {
  const auto one = AccessKeys(folder_).create("one", kPolicy);
  const auto two = AccessKeys(folder_).create("two", kPolicy);
  const std::string whole = text_of("access-keys.json");
  const auto write = [&](const std::string& text) {
    std::ofstream(folder_ / "access-keys.json") << text;
  };
  write(whole.substr(0, whole.size() / 2));
  expect_error(ErrorCode::kDataLoss, {"access-keys.json"},
               [&] { AccessKeys(folder_).find(one.id); });
  // A sealed secret belongs to its key: under another's name it does not open.
  std::string swapped = whole;
  const std::string aside(20, 'x');
  swapped.replace(swapped.find(one.id), 20, aside);
  swapped.replace(swapped.find(two.id), 20, one.id);
  swapped.replace(swapped.find(aside), 20, two.id);
  write(swapped);
  expect_error(ErrorCode::kDataLoss, {"access-keys.json", "another key"},
               [&] { AccessKeys(folder_).find(one.id); });
  write(whole);
  fs::remove(folder_ / "secret.key");
  expect_error(ErrorCode::kDataLoss, {"secret.key"}, [&] { AccessKeys(folder_).find(one.id); });
  expect_error(ErrorCode::kDataLoss, {"secret.key"},
               [&] { AccessKeys(folder_).create("three", kPolicy); });
}

TEST_F(AccessKeysTest, KeysThatAreMadeAtOnceAreAllKept) {
  std::vector<std::thread> makers;
  makers.reserve(4);
  for (int i = 0; i < 4; ++i) {
    makers.emplace_back([&, i] {
      for (int k = 0; k < 5; ++k) AccessKeys(folder_).create("user" + std::to_string(i), kPolicy);
    });
  }
  for (auto& maker : makers) maker.join();
  EXPECT_EQ(AccessKeys(folder_).list().size(), 20u);
}

TEST_F(AccessKeysTest, BadNamesAndPoliciesMakeNoKey) {
  AccessKeys keys(folder_);
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a/b"), std::string(65, 'a')}) {
    expect_error(ErrorCode::kInvalidArgument, {"user's name"}, [&] { keys.create(name, kPolicy); });
  }
  expect_error(ErrorCode::kInvalidArgument, {"policy"}, [&] { keys.create("one", "{}"); });
  EXPECT_TRUE(keys.list().empty());
}

TEST(Sealing, OpensWithTheSameKeyAndContextAlone) {
  const std::string key = random_bytes(32);
  const std::string sealed = seal(key, "secret", "one");
  EXPECT_EQ(unseal(key, sealed, "one"), "secret");
  EXPECT_NE(seal(key, "secret", "one"), sealed);
  EXPECT_EQ(unseal(key, seal(key, "", ""), ""), "");
  expect_error(ErrorCode::kDataLoss, {}, [&] { unseal(key, sealed, "two"); });
  expect_error(ErrorCode::kDataLoss, {}, [&] { unseal(random_bytes(32), sealed, "one"); });
  expect_error(ErrorCode::kDataLoss, {}, [&] { unseal(key, sealed.substr(1), "one"); });
  expect_error(ErrorCode::kDataLoss, {}, [&] { unseal(key, "short", "one"); });
}

TEST(Base64, GoesBothWays) {
  for (const std::string bytes : {"", "a", "ab", "abc", "abcd"}) {
    EXPECT_EQ(
        from_base64(base64({reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()})),
        bytes);
  }
  expect_error(ErrorCode::kDataLoss, {}, [] { from_base64("a"); });
  expect_error(ErrorCode::kDataLoss, {}, [] { from_base64("a*=="); });
}

}  // namespace
}  // namespace musher
