#include "common/log.h"

#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

std::string written(std::FILE* file) {
  std::string text(4096, '\0');
  std::rewind(file);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  return text;
}

TEST(Log, WritesTimeLevelAndMessageOnOneLine) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), &std::fclose);
  const Logger logger = make_logger(spdlog::level::info, file.get());
  logger->debug("hidden");
  logger->warn("{} of {}", 3, 4);
  EXPECT_THAT(written(file.get()),
              testing::MatchesRegex(
                  "[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+\\.[0-9]+Z warning 3 of 4\n"));
}

TEST(Log, TheSilentOneTakesEverything) {
  make_silent_logger()->error("nobody hears {}", 1);
}

}  // namespace
}  // namespace musher
