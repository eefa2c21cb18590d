#include <atomic>
#include <filesystem>
#include <fstream>

#include <arrow/filesystem/s3fs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/thread.h"
#include "store_testing.h"

namespace musher {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LocalStore : public testing::Test {
 public:
  LocalStore() {
    std::string pattern = (std::filesystem::temp_directory_path() / "store-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    store_ = open_store(Uri::parse("file://" + folder_.string()), {});
  }
  ~LocalStore() override { std::filesystem::remove_all(folder_); }

 protected:
  std::size_t files_on_disk() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      count += entry.is_regular_file();
    }
    return count;
  }

  std::filesystem::path folder_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(LocalStore, PutsReadsReplacesAndRemoves) {
  store_->put("a/b/c.txt", bytes_of("one"));
  EXPECT_EQ(read_text(*store_, "a/b/c.txt"), "one");
  store_->put("a/b/c.txt", bytes_of("second"));
  EXPECT_EQ(read_text(*store_, "a/b/c.txt"), "second");
  const auto info = store_->head("a/b/c.txt");
  EXPECT_EQ(info.key, "a/b/c.txt");
  EXPECT_EQ(info.size, 6u);
  EXPECT_GT(info.modified, 0);
  store_->remove("a/b/c.txt");
  store_->remove("a/b/c.txt");
  EXPECT_THAT(keys_of(*store_), IsEmpty());
}

TEST_F(LocalStore, ListsBelowAPrefixOnly) {
  for (const char* key : {"train/a/1", "train/a/2", "train/b/1", "training/x", "top", "empty"}) {
    store_->put(key, {});
  }
  EXPECT_THAT(keys_of(*store_, "train"), ElementsAre("train/a/1", "train/a/2", "train/b/1"));
  EXPECT_THAT(keys_of(*store_, "train/b/"), ElementsAre("train/b/1"));
  EXPECT_EQ(keys_of(*store_).size(), 6u);
  EXPECT_THAT(keys_of(*store_, "nothing/here"), IsEmpty());
  EXPECT_THAT(keys_of(*store_, "top"), IsEmpty());
}

TEST_F(LocalStore, ListsInPages) {
  for (int i = 0; i < 2'500; ++i) std::ofstream(folder_ / std::to_string(i));
  std::size_t pages = 0, largest = 0, total = 0;
  store_->list("", [&](const std::vector<ObjectInfo>& page) {
    ++pages;
    largest = std::max(largest, page.size());
    total += page.size();
  });
  EXPECT_EQ(total, 2'500u);
  EXPECT_GE(pages, 3u);
  EXPECT_LE(largest, 1'000u);
}

TEST_F(LocalStore, AnExceptionOfTheCallerEndsAListing) {
  store_->put("a", {});
  EXPECT_THROW(
      store_->list("", [](const std::vector<ObjectInfo>&) { throw std::runtime_error("enough"); }),
      std::runtime_error);
}

TEST_F(LocalStore, ReadsRangesButNeverShort) {
  store_->put("k", bytes_of("0123456789"));
  EXPECT_EQ(text_of(store_->read("k", 3, 4)), "3456");
  EXPECT_EQ(text_of(store_->read("k", 0, 10)), "0123456789");
  EXPECT_EQ(text_of(store_->read("k", 10, 0)), "");
  expect_error(ErrorCode::kDataLoss, store_->root().str() + "/k", [&] { store_->read("k", 3, 8); });
  expect_error(ErrorCode::kDataLoss, "has 10 bytes", [&] { store_->read("k", 11, 0); });
  expect_error(ErrorCode::kDataLoss, "k", [&] { store_->read("k", 1, UINT64_MAX); });
}

TEST_F(LocalStore, ErrorsNameTheUri) {
  const std::string uri = store_->root().str() + "/a/missing";
  expect_error(ErrorCode::kNotFound, uri, [&] { store_->read("a/missing"); });
  expect_error(ErrorCode::kNotFound, uri, [&] { store_->read("a/missing", 0, 1); });
  expect_error(ErrorCode::kNotFound, uri, [&] { store_->head("a/missing"); });
  store_->put("file", {});
  expect_error(ErrorCode::kInvalidArgument, "file/below", [&] { store_->put("file/below", {}); });
}

TEST_F(LocalStore, AFolderIsNoObject) {
  store_->put("folder/file", {});
  expect_error(ErrorCode::kNotFound, "folder", [&] { store_->read("folder"); });
  expect_error(ErrorCode::kInvalidArgument, "folder", [&] { store_->put("folder/", {}); });
  expect_error(ErrorCode::kInvalidArgument, "no object's key", [&] { store_->put("", {}); });
  EXPECT_ANY_THROW(store_->put("folder", bytes_of("x")));
  EXPECT_EQ(keys_of(*store_), std::vector<std::string>{"folder/file"});
  EXPECT_EQ(files_on_disk(), 1u);
}

TEST_F(LocalStore, AKeyCantLeaveTheRoot) {
  expect_error(ErrorCode::kInvalidArgument, "..", [&] { store_->put("../x", {}); });
  expect_error(ErrorCode::kInvalidArgument, "..", [&] { store_->read("../x"); });
}

TEST_F(LocalStore, AnUploadIsInvisibleUntilItsCommit) {
  store_->put("k", bytes_of("old"));
  auto writer = store_->writer("k");
  writer->write(bytes_of("new "));
  writer->write(bytes_of("value"));
  EXPECT_EQ(read_text(*store_, "k"), "old");
  EXPECT_THAT(keys_of(*store_), ElementsAre("k"));
  writer->commit();
  EXPECT_EQ(read_text(*store_, "k"), "new value");
}

/// Around the size of the pieces in which files are written past the page cache.
TEST_F(LocalStore, WritesEveryLengthInPiecesOfAny) {
  constexpr std::size_t kPiece = 4UL << 20;
  const auto in_memory = "/dev/shm" / folder_.filename();
  const auto memory = open_store(Uri::parse("file://" + in_memory.string()), {});
  for (ObjectStore* store : {store_.get(), memory.get()}) {  // and where there is no O_DIRECT
    for (const std::size_t size : {0UL, 1UL, kPiece - 1, kPiece, kPiece + 1, 2 * kPiece + 4097}) {
      const std::string text = noise(size, size);
      auto writer = store->writer("k");
      for (std::size_t begin = 0; begin < size; begin += 3000001)
        writer->write(bytes_of(text.substr(begin, 3000001)));
      writer->commit();
      EXPECT_EQ(read_text(*store, "k"), text) << size;
    }
  }
  std::filesystem::remove_all(in_memory);
}

TEST_F(LocalStore, AnExceptionLeavesNothingBehind) {
  store_->put("k", bytes_of("old"));
  try {
    auto writer = store_->writer("k");
    writer->write(bytes_of(noise(1 << 20, 1)));
    throw std::runtime_error("between two writes");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(read_text(*store_, "k"), "old");
  EXPECT_EQ(files_on_disk(), 1u);
}

TEST_F(LocalStore, ACrashLeavesNoHalfObject) {
  const pid_t child = fork();
  if (child == 0) {
    auto writer = store_->writer("k");
    writer->write(bytes_of(noise(1 << 20, 1)));
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(files_on_disk(), 1u);  // what it had written so far
  EXPECT_THAT(keys_of(*store_), IsEmpty());
  expect_error(ErrorCode::kNotFound, "k", [&] { store_->read("k"); });
}

TEST_F(LocalStore, AFolderGoesWithAllThatIsInIt) {
  store_->put("a/b/1", {});
  store_->put("a/2", {});
  store_->put("ab/3", {});
  std::ofstream(folder_ / "a/.musher-upload-0").flush();
  EXPECT_THAT(store_->folders(""), testing::UnorderedElementsAre("a", "ab"));
  EXPECT_THAT(store_->folders("a"), ElementsAre("b"));
  EXPECT_THAT(store_->folders("nowhere"), IsEmpty());
  store_->remove_folder("a");
  store_->remove_folder("a");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a"));
  EXPECT_THAT(keys_of(*store_), ElementsAre("ab/3"));
  expect_error(ErrorCode::kInvalidArgument, "no object's key", [&] { store_->remove_folder(""); });
}

TEST_F(LocalStore, WhatACrashLeftOfAnUploadCanBeRemoved) {
  store_->put("a/k", {});
  std::ofstream(folder_ / "a/.musher-upload-0").flush();
  store_->remove_unfinished("a");
  store_->remove_unfinished("nowhere");
  EXPECT_EQ(files_on_disk(), 1u);
  EXPECT_THAT(keys_of(*store_), ElementsAre("a/k"));
}

TEST_F(LocalStore, ReadersSeeOneOfManyWritersWhole) {
  constexpr std::size_t kSize = 64 << 10;
  store_->put("k", bytes_of(std::string(kSize, 'z')));
  std::atomic<int> torn = 0;
  std::vector<Thread> threads;
  for (char c = 'a'; c < 'e'; ++c) {
    threads.emplace_back("put", [&, c] {
      for (int i = 0; i < 20; ++i) store_->put("k", bytes_of(std::string(kSize, c)));
    });
    threads.emplace_back("read", [&] {
      for (int i = 0; i < 50; ++i) {
        const std::string text = read_text(*store_, "k");
        torn += text != std::string(kSize, text.at(0));
      }
    });
  }
  for (auto& thread : threads) thread.join_and_rethrow();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(files_on_disk(), 1u);
}

TEST_F(LocalStore, NeverBringsUpS3) {
  store_->put("k", bytes_of("x"));
  read_text(*store_, "k");
  keys_of(*store_);
  EXPECT_FALSE(arrow::fs::IsS3Initialized());
}

TEST(OpenStore, RejectsWhatIsNoStoreWithoutTouchingTheNetwork) {
  Uri odd = Uri::parse("file:///x");
  odd.scheme = "ftp";
  expect_error(ErrorCode::kInvalidArgument, "ftp", [&] { open_store(odd, {}); });
  StorageConfig config;
  for (const char* endpoint :
       {"localhost:8333", "ftp://host", "http://", "http://host/path", "http://u@host"}) {
    config.s3_endpoint = endpoint;
    expect_error(ErrorCode::kInvalidArgument, endpoint,
                 [&] { open_store(Uri::parse("s3://bucket"), config); });
  }
  config.s3_endpoint = "http://127.0.0.1:1/";
  EXPECT_EQ(open_store(Uri::parse("s3://bucket/p/"), config)->root().str(), "s3://bucket/p");
  EXPECT_FALSE(arrow::fs::IsS3Initialized());
}

}  // namespace
}  // namespace musher
