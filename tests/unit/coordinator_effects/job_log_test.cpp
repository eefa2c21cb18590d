#include "coordinator/job_log.h"

#include <algorithm>
#include <fstream>

#include <gtest/gtest.h>

#include "coordinator/temporary_folder.h"

namespace musher {
namespace {

class JobLogTest : public testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "log"; }
  TemporaryFolder folder_{"musher-test"};
};

LogEntry line(int rank, const std::string& text, std::uint64_t source = 0) {
  return {1'700'000'000'000, rank, rank == 1, text, 2, source};
}

TEST_F(JobLogTest, WhatIsWrittenIsReadWithItsRankAndSpaces) {
  JobLog(file()).append({line(0, "  two  spaces "), line(1, ""), line(-1, "ours\nin two lines")});
  const LogPage page = read_log(file(), 0, std::nullopt);
  ASSERT_EQ(page.entries.size(), 3u);
  EXPECT_EQ(page.entries[0].text, "  two  spaces ");
  EXPECT_EQ(page.entries[0].time_ms, 1'700'000'000'000);
  EXPECT_TRUE(page.entries[1].error);
  EXPECT_EQ(page.entries[2].rank, -1);
  EXPECT_EQ(page.entries[2].text, "ours in two lines");
  EXPECT_EQ(read_log(file(), 0, 1).entries.size(), 1u);
}

TEST_F(JobLogTest, ReadingGoesOnWhereItEndedPageByPage) {
  JobLog log(file());
  for (int i = 0; i < 100; ++i) log.append({line(0, "line " + std::to_string(i))});
  std::vector<std::string> read;
  std::uint64_t offset = 0;
  for (LogPage page = read_log(file(), 0, std::nullopt, 128); page.next_offset != offset;
       page = read_log(file(), offset, std::nullopt, 128)) {
    offset = page.next_offset;
    for (const LogEntry& entry : page.entries) read.push_back(entry.text);
  }
  ASSERT_EQ(read.size(), 100u);
  EXPECT_EQ(read[99], "line 99");
  EXPECT_EQ(offset, std::filesystem::file_size(file()));
}

TEST_F(JobLogTest, ALineLongerThanAPageDoesNotStopTheReader) {
  JobLog(file()).append({line(0, std::string(1000, 'x')), line(0, "next")});
  const LogPage first = read_log(file(), 0, std::nullopt, 100);
  ASSERT_EQ(first.entries.size(), 1u);
  EXPECT_EQ(first.entries[0].text.size(), 1000u);
  EXPECT_EQ(read_log(file(), first.next_offset, std::nullopt, 100).entries.at(0).text, "next");
}

TEST_F(JobLogTest, ALineThatACrashCutOffIsGoneAndTheNextIsWhole) {
  JobLog(file()).append({line(0, "whole", 10)});
  std::ofstream(file(), std::ios::app) << "1700000000000 2 20 0 o cut of";
  EXPECT_EQ(read_log(file(), 0, std::nullopt).entries.size(), 1u) << "not before it is mended";
  JobLog log(file());
  log.append({line(0, "after", 30)});
  const LogPage page = read_log(file(), 0, std::nullopt);
  ASSERT_EQ(page.entries.size(), 2u);
  EXPECT_EQ(page.entries[1].text, "after");
  EXPECT_EQ(log.source_ends(2), (SourceEnds{{RankStream{}, 30}}));
  EXPECT_TRUE(log.source_ends(1).empty()) << "another attempt";
}

TEST_F(JobLogTest, NoFileIsAnEmptyPage) {
  const LogPage page = read_log(folder_.path() / "none", 7, std::nullopt);
  EXPECT_TRUE(page.entries.empty());
  EXPECT_EQ(page.next_offset, 7u);
}

std::vector<std::string> read_all(const std::filesystem::path& file, std::uint64_t offset = 0) {
  std::vector<std::string> read;
  for (LogPage page = read_log(file, offset, std::nullopt, 200); page.next_offset != offset;
       page = read_log(file, offset, std::nullopt, 200)) {
    offset = page.next_offset;
    for (const LogEntry& entry : page.entries) read.push_back(entry.text);
  }
  return read;
}

TEST_F(JobLogTest, AReaderGoesThroughThePartsAndFindsEveryLineOnce) {
  std::vector<std::string> written;
  std::uint64_t middle = 0;
  {
    JobLog log(file(), {300, 1 << 20});
    for (int i = 0; i < 100; ++i) {
      written.push_back("line " + std::to_string(i));
      log.append({line(0, written.back(), static_cast<std::uint64_t>(i + 1))});
      if (i == 49) middle = read_log(file(), 0, std::nullopt, 1 << 20).next_offset;
    }
    EXPECT_EQ(log.source_ends(2), (SourceEnds{{RankStream{}, 100}}));
  }
  EXPECT_EQ(read_all(file()), written);
  EXPECT_LE(std::filesystem::file_size(file()), 400u) << "it was rotated";
  // An offset that a reader was given stays good.
  EXPECT_EQ(read_all(file(), middle).size(),
            100u - read_log(file(), 0, std::nullopt, 1 << 20).entries.size());
  JobLog again(file(), {300, 1 << 20});
  again.append({line(0, "more")});
  EXPECT_EQ(read_all(file()).back(), "more");
  EXPECT_EQ(again.source_ends(2), (SourceEnds{{RankStream{}, 100}}));
}

/// Or a coordinator that is started again would write the lines of a rank that has long been silent
/// once more.
TEST_F(JobLogTest, HowFarEachFileIsInTheLogIsKnownWhenTheLinesThatSaidSoAreGone) {
  LogEntry quiet = line(3, "one line, long ago", 17);
  quiet.own = quiet.error = true;
  {
    JobLog log(file(), {300, 1000});
    log.append({line(0, "the beginning", 5)});
    for (int i = 0; i < 20; ++i) log.append({line(0, "before", 6)});
    log.append({quiet});
    for (std::uint64_t i = 0; i < 1000; ++i) {
      LogEntry loud = line(0, "a flood", i + 1);
      loud.own = true;
      log.append({loud});
    }
  }
  const std::vector<std::string> read = read_all(file());
  EXPECT_EQ(std::count(read.begin(), read.end(), quiet.text), 0) << "it is gone from the log";
  EXPECT_EQ(std::count(read.begin(), read.end(), ""), 0) << "marks are not shown";
  const SourceEnds known{{RankStream{}, 6}, {{0, false}, 1000}, {{3, true}, 17}};
  EXPECT_EQ(JobLog(file(), {300, 1000}).source_ends(2), known);
  // A crash may come between the making of a part and its marks.
  std::uint64_t end = 0;
  for (const auto& part : std::filesystem::directory_iterator(folder_.path())) {
    const std::string name = part.path().filename();
    if (name != "log")
      end = std::max<std::uint64_t>(end, std::stoull(name.substr(4)) + part.file_size());
  }
  std::ofstream(file().string() + "." + std::to_string(end));
  EXPECT_EQ(JobLog(file(), {300, 1000}).source_ends(2), known);
  EXPECT_GT(std::filesystem::file_size(file().string() + "." + std::to_string(end)), 0U);
  EXPECT_EQ(JobLog(file(), {300, 1000}).source_ends(2), known);
}

TEST_F(JobLogTest, ALogThatBecomesTooLargeKeepsItsBeginningAndItsEnd) {
  JobLog log(file(), {300, 1000});
  for (int i = 0; i < 1000; ++i) log.append({line(0, "line " + std::to_string(i))});
  std::uint64_t size = 0;
  for (const auto& part : std::filesystem::directory_iterator(folder_.path())) {
    size += part.file_size();
  }
  EXPECT_LE(size, 1300u);
  const std::vector<std::string> read = read_all(file());
  EXPECT_EQ(read.front(), "line 0");
  EXPECT_EQ(read.back(), "line 999");
  const auto gone = std::find_if(read.begin(), read.end(), [](const std::string& text) {
    return text.find("bytes of the log are gone") != text.npos;
  });
  ASSERT_NE(gone, read.end());
  EXPECT_EQ(std::find_if(gone + 1, read.end(),
                         [](const std::string& text) { return text.find("gone") != text.npos; }),
            read.end());
  EXPECT_EQ(read_log(file(), 0, 0, 1 << 20).entries.front().text, "line 0");
}

}  // namespace
}  // namespace musher
