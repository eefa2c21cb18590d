#include "coordinator/temporary_folder.h"

#include <fstream>
#include <optional>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace musher {
namespace {

namespace fs = std::filesystem;

TEST(TemporaryFolderTest, IsGoneWithAllInItAtTheEnd) {
  fs::path path;
  {
    const TemporaryFolder folder("musher-temporary-test");
    path = folder.path();
    std::ofstream(path / "file") << "x";
    fs::create_directory(path / "folder");
    EXPECT_TRUE(fs::exists(path / "file"));
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(TemporaryFolderTest, WhatAKilledProcessLeftIsGoneAfterTheNextStart) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const TemporaryFolder folder("musher-killed-test");
    std::ofstream(folder.path() / "file") << "x";
    const std::string path = folder.path();
    if (write(ends[1], path.c_str(), path.size() + 1) < 0) _exit(1);
    kill(getpid(), SIGKILL);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  char path[4096] = {};
  ASSERT_GT(read(ends[0], path, sizeof(path)), 0);
  close(ends[0]);
  close(ends[1]);
  ASSERT_TRUE(fs::exists(path));
  const TemporaryFolder next("musher-killed-test");
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::exists(next.path()));
}

TEST(TemporaryFolderTest, OneThatIsInUseStays) {
  const TemporaryFolder first("musher-used-test");
  std::ofstream(first.path() / "file") << "x";
  const TemporaryFolder second("musher-used-test");
  EXPECT_NE(first.path(), second.path());
  EXPECT_TRUE(fs::exists(first.path() / "file"));
}

TEST(TemporaryFolderTest, ALongerNameIsAnothers) {
  const fs::path other = fs::temp_directory_path() / "musher-named-test-abcdef-more";
  fs::create_directory(other);
  const TemporaryFolder folder("musher-named-test");
  EXPECT_TRUE(fs::exists(other));
  fs::remove(other);
}

}  // namespace
}  // namespace musher
