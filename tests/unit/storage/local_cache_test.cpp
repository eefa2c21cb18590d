#include "storage/local_cache.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/random.h"
#include "support/expect_error.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::byte> content(int seed, std::size_t size) {
  Random random{static_cast<std::uint64_t>(seed)};
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(256));
  return bytes;
}

class LocalCacheTest : public testing::Test {
 protected:
  LocalCacheTest() {
    std::string name = (fs::temp_directory_path() / "cache-test-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    folder_ = (root_ / "made" / "when needed").string();
  }
  ~LocalCacheTest() override { fs::remove_all(root_); }

  LocalCache open(std::uint64_t limit) {
    return {folder_, limit, [this](const std::string& line) { notices_.push_back(line); }};
  }

  std::vector<fs::path> pieces() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      const bool piece = entry.path().parent_path().filename().string().size() == 2;
      if (entry.is_regular_file() && piece) found.push_back(entry.path());
    }
    return found;
  }
  std::uint64_t bytes_on_disk() const {
    std::uint64_t sum = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      const auto name = entry.path().filename();
      if (entry.is_regular_file() && name != "usage" && name != "lock") sum += entry.file_size();
    }
    return sum;
  }
  /// As if all had been used last an hour ago, in the order of `order`.
  void age() const {
    for (const fs::path& path : pieces()) {
      fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(1));
    }
  }

  fs::path root_;
  std::string folder_;
  std::vector<std::string> notices_;
};

/// Runs `body` in a process of its own, which does not end as a test.
template <typename Body>
pid_t in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  return child;
}

int wait_for(pid_t child) {
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

TEST_F(LocalCacheTest, FindsWhatAnotherKept) {
  const auto bytes = content(1, 100'000);
  LocalCache first = open(1 << 20);
  EXPECT_FALSE(first.find("a"));
  EXPECT_TRUE(first.keep("a", bytes));
  EXPECT_TRUE(first.keep("nothing", std::vector<std::byte>()));
  LocalCache second = open(1 << 20);
  EXPECT_EQ(second.find("a"), bytes);
  EXPECT_EQ(second.find("nothing"), std::vector<std::byte>());
  EXPECT_FALSE(second.find("b"));
  EXPECT_THAT(notices_, IsEmpty());
}

TEST_F(LocalCacheTest, WhatWasNotUsedForLongestGoes) {
  LocalCache cache = open(100'000);
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(cache.keep(fmt::format("{}", i), content(i, 12'000)));
  EXPECT_EQ(pieces().size(), 6U);
  age();
  EXPECT_TRUE(cache.find("2"));
  for (int i = 6; i < 9; ++i) EXPECT_TRUE(cache.keep(fmt::format("{}", i), content(i, 12'000)));
  EXPECT_EQ(cache.find("2"), content(2, 12'000));
  for (int i = 6; i < 9; ++i) EXPECT_EQ(cache.find(fmt::format("{}", i)), content(i, 12'000));
  EXPECT_LT(pieces().size(), 9U);
  EXPECT_LE(bytes_on_disk(), 100'000U);
}

TEST_F(LocalCacheTest, WhatIsLargerThanTheLimitIsNotKept) {
  LocalCache cache = open(10'000);
  EXPECT_FALSE(cache.keep("large", content(1, 20'000)));
  EXPECT_TRUE(cache.keep("small", content(2, 3'000)));
  EXPECT_TRUE(cache.keeps());
  EXPECT_THAT(notices_, IsEmpty());
}

TEST_F(LocalCacheTest, ASmallerLimitHoldsForWhatIsThere) {
  {
    LocalCache large = open(1 << 20);
    for (int i = 0; i < 20; ++i) large.keep(fmt::format("{}", i), content(i, 20'000));
  }
  LocalCache small = open(100'000);
  EXPECT_TRUE(small.keep("new", content(99, 20'000)));
  EXPECT_LE(bytes_on_disk(), 100'000U);
  EXPECT_EQ(small.find("new"), content(99, 20'000));
}

TEST_F(LocalCacheTest, DamageAnywhereIsNotTakenForContent) {
  LocalCache cache = open(1 << 20);
  const auto bytes = content(1, 300);
  cache.keep("a", bytes);
  const fs::path file = pieces().at(0);
  std::string good(fs::file_size(file), '\0');
  std::ifstream(file, std::ios::binary)
      .read(good.data(), static_cast<std::streamsize>(good.size()));
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    if (at % 2 == 0) {
      bad[at] = static_cast<char>(bad[at] ^ 4);
    } else {
      bad.resize(at);
    }
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bad;
    EXPECT_FALSE(cache.find("a")) << at;
    EXPECT_TRUE(cache.keep("a", bytes)) << at;
    EXPECT_EQ(cache.find("a"), bytes) << at;
  }
  EXPECT_EQ(pieces().size(), 1U);
}

TEST_F(LocalCacheTest, APieceUnderAnotherNameIsNotTakenForIt) {
  LocalCache cache = open(1 << 20);
  cache.keep("a", content(1, 300));
  const fs::path a = pieces().at(0);
  cache.keep("b", content(2, 300));
  auto all = pieces();
  std::erase(all, a);
  fs::copy_file(a, all.at(0), fs::copy_options::overwrite_existing);
  EXPECT_FALSE(cache.find("b"));
}

TEST_F(LocalCacheTest, ProcessesTogetherKeepToTheLimit) {
  constexpr std::uint64_t kLimit = 400'000;
  std::vector<pid_t> children;
  for (int child = 0; child < 4; ++child) {
    children.push_back(in_child([&] {
      LocalCache cache = open(kLimit);
      for (int i = 0; i < 100; ++i) {
        const int piece = (child * 37 + i) % 120;
        cache.keep(fmt::format("{}", piece), content(piece, 11'000));
        const auto found = cache.find(fmt::format("{}", (piece + 5) % 120));
        if (found && *found != content((piece + 5) % 120, 11'000)) ::_exit(1);
        if (!cache.keeps()) ::_exit(2);
      }
    }));
  }
  for (int look = 0; look < 50; ++look) {
    try {
      if (fs::exists(folder_)) {
        EXPECT_LE(bytes_on_disk(), kLimit);
      }
    } catch (const fs::filesystem_error&) {
      // A file went while it was looked at.
    }
    ::usleep(2'000);
  }
  for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
  EXPECT_LE(bytes_on_disk(), kLimit);
  EXPECT_GT(pieces().size(), 20U);
}

TEST_F(LocalCacheTest, KilledWritersLeaveNothingThatIsRead) {
  constexpr std::uint64_t kLimit = 3 << 20;
  for (int round = 0; round < 30; ++round) {
    const pid_t child = in_child([&] {
      LocalCache cache = open(kLimit);
      for (int i = 0;; ++i) cache.keep(fmt::format("{}", i % 50), content(i % 50, 200'000));
    });
    ::usleep(1'000 + 700 * round);
    ::kill(child, SIGKILL);
    wait_for(child);
  }
  LocalCache cache = open(kLimit);
  for (int i = 0; i < 50; ++i) {
    const auto found = cache.find(fmt::format("{}", i));
    EXPECT_TRUE(!found || *found == content(i, 200'000)) << i;
  }
  // What they were writing goes when room is wanted.
  for (int i = 100; i < 130; ++i) cache.keep(fmt::format("{}", i), content(i, 200'000));
  EXPECT_TRUE(fs::is_empty(fs::path(folder_) / "partial"));
  EXPECT_LE(bytes_on_disk(), kLimit);
  EXPECT_EQ(cache.find("129"), content(129, 200'000));
}

TEST_F(LocalCacheTest, ADiskThatTakesNoMoreIsToldOnce) {
  const pid_t child = in_child([&] {
    LocalCache cache = open(10 << 20);
    if (!cache.keep("before", content(1, 5'000))) ::_exit(1);
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100'000, 100'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    if (cache.keep("a", content(2, 200'000)) || cache.keep("b", content(3, 200'000))) ::_exit(2);
    if (cache.keeps() || notices_.size() != 1) ::_exit(3);
    if (notices_[0].find("can't be written") == std::string::npos) ::_exit(4);
    if (cache.find("before") != content(1, 5'000)) ::_exit(5);
    if (!fs::is_empty(fs::path(folder_) / "partial")) ::_exit(6);
  });
  EXPECT_EQ(wait_for(child), 0);
}

TEST_F(LocalCacheTest, AFolderThatCanNotBeMadeIsToldOnce) {
  std::ofstream(root_ / "made") << "a file";
  LocalCache cache = open(1 << 20);
  EXPECT_FALSE(cache.keep("a", content(1, 10)));
  EXPECT_FALSE(cache.keep("b", content(1, 10)));
  EXPECT_FALSE(cache.find("a"));
  EXPECT_FALSE(cache.keeps());
  EXPECT_THAT(notices_, ElementsAre(HasSubstr(folder_)));
}

TEST_F(LocalCacheTest, ADamagedCountIsCountedAnew) {
  {
    LocalCache cache = open(200'000);
    for (int i = 0; i < 10; ++i) cache.keep(fmt::format("{}", i), content(i, 15'000));
  }
  for (const std::string text : {"", "12", "nonsense\n"}) {
    std::ofstream(folder_ + "/usage", std::ios::trunc) << text;
    LocalCache cache = open(200'000);
    for (int i = 0; i < 20; ++i) cache.keep(fmt::format("{}{}", text, i), content(i, 15'000));
    EXPECT_LE(bytes_on_disk(), 200'000U) << text;
  }
}

TEST(ParseBytes, UnitsAreThoseThatPeopleWrite) {
  EXPECT_EQ(parse_bytes("0", "--x"), 0U);
  EXPECT_EQ(parse_bytes("1024", "--x"), 1024U);
  EXPECT_EQ(parse_bytes("20GiB", "--x"), std::uint64_t{20} << 30);
  EXPECT_EQ(parse_bytes("1.5KiB", "--x"), 1536U);
  EXPECT_EQ(parse_bytes("500MB", "--x"), 500'000'000U);
  EXPECT_EQ(parse_bytes("2TB", "--x"), 2'000'000'000'000U);
  for (const std::string text : {"", "GiB", "-1", "20 GiB", "20gib", "1e30", "nan", "inf", "12x"}) {
    expect_error(ErrorCode::kInvalidArgument, {"--cache-limit", "20GiB", "\"" + text + "\""},
                 [&] { parse_bytes(text, "--cache-limit"); });
  }
}

}  // namespace
}  // namespace musher
