#include "coordinator/progress_printer.h"

#include <cstdlib>

#include <gtest/gtest.h>

namespace musher {
namespace {

v1::JobProgress training(std::uint64_t step) {
  v1::JobProgress progress;
  progress.mutable_job()->set_training_job_name("dogs");
  progress.mutable_job()->set_secondary_status(v1::SecondaryStatus::Training);
  progress.set_epoch(1);
  progress.set_epochs(8);
  progress.set_step(step);
  progress.set_steps(1250);
  progress.set_samples_per_second(842.4);
  progress.set_loss(0.4123);
  progress.set_eta_seconds(80);
  return progress;
}

/// What `updates` put on a file that is, or is not, taken for a terminal.
std::string shown(bool interactive, const std::vector<v1::JobProgress>& updates) {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* out = ::open_memstream(&text, &size);
  {
    ProgressPrinter printer(out, interactive);
    for (const auto& update : updates) printer.update(update);
  }
  std::fclose(out);
  std::string result(text, size);
  std::free(text);
  return result;
}

TEST(ProgressPrinter, EpochsAreCountedFromOneForPeople) {
  EXPECT_EQ(progress_line(training(310)),
            "epoch 2 of 8, step 310 of 1250, 842 samples/s, loss 0.4123, ETA 1:20");
}

TEST(ProgressPrinter, APipeGetsPlainLinesAndNotEveryStep) {
  const std::string text = shown(false, {training(1), training(2), training(3)});
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find("\033"), std::string::npos);
  EXPECT_NE(text.find("dogs: Training\n"), std::string::npos);
  EXPECT_NE(text.find("step 1 of"), std::string::npos);
  EXPECT_EQ(text.find("step 2 of"), std::string::npos);
}

TEST(ProgressPrinter, ATerminalGetsOneLineThatIsWrittenOver) {
  v1::JobProgress noticed = training(3);
  noticed.add_notices("epoch 1: 5 of 5 samples, each once");
  const std::string text = shown(true, {training(1), training(2), noticed});
  EXPECT_NE(text.find("\repoch 2 of 8, step 2 of"), std::string::npos);
  EXPECT_NE(text.find("\r\033[Kepoch 1: 5 of 5 samples, each once\n"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\r\033[K")) << "nothing half-written stays";
}

}  // namespace
}  // namespace musher
