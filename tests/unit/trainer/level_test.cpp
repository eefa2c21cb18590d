// Ranks that differ by the step that was under way, and newcomers, get the state of who is ahead.
#include "trainer/level.h"

#include <functional>
#include <thread>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "thread_collective.h"

namespace musher {
namespace {

constexpr double kBuffers = 0.25;  // a rank's buffers beside its values, to tell whose they are

Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}

LossScale scale_at(std::uint64_t step) {
  return {512.0 * static_cast<double>(step + 1), 3};
}

/// A rank with a model that has batch-norm, all of its state one number.
struct Rank {
  Rank(double value, std::uint64_t step, bool synchronized = false) : hyper(options(synchronized)) {
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : training.tensors().flat) tensor.fill_(value);
    for (auto& [name, buffer] : training.tensors().own) buffer.fill_(value + kBuffers);
    state.metric_by_epoch.assign(step / 2, value);
    training.optimizer().set_steps(static_cast<std::int64_t>(step));
    training.optimizer().set_loss_scale(scale_at(step));
    state.step = step;
    state.tally = {{step * 10, step * 100}, {step, step}, value, {static_cast<double>(step * 3)}};
    state.closed_epochs = step / 2;
    mine.has_state = 1;
    mine.step = static_cast<std::int64_t>(step);
    mine.closed_epochs = static_cast<std::int64_t>(state.closed_epochs);
  }

  bool trained_to(double value) {
    bool same = state.metric_by_epoch == std::vector<double>(state.step / 2, value);
    for (auto& [name, tensor] : training.tensors().flat)
      same = same && tensor.eq(value).all().item<bool>();
    return same;
  }
  bool has_buffers_of(double value) {
    bool same = true;
    for (auto& [name, buffer] : training.tensors().own)
      same = same && buffer.eq(at::full_like(buffer, value + kBuffers)).all().item<bool>();
    return same;
  }

  std::unique_ptr<Model> model =
      make_model({.name = "resnet18", .classes = 3, .input_shape = {3, 32, 32}, .seed = 5});
  static Hyperparameters options(bool synchronized) {
    Hyperparameters with_average;
    with_average.sync_batch_norm = synchronized;
    with_average.ema_decay = 0.9;
    with_average.precision = Precision::kFloat16;
    return with_average;
  }
  Hyperparameters hyper;
  std::unique_ptr<Task> task = make_task(TaskKind::kImageClassification, hyper, {});
  TrainingStep training{*model, *task, hyper, {}};
  TrainingState state;
  Standpoint mine;
};

/// Levels the ranks among each other; `as` gets what each met.
void level_all(ThreadRanks& ranks, std::vector<Rank*> all,
               const std::function<void(int, std::exception_ptr)>& as = {}) {
  std::vector<Standpoint> standpoints;
  for (Rank* rank : all) standpoints.push_back(rank->mine);
  const Agreement agreement = conclude(standpoints);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < all.size(); ++i) {
    threads.emplace_back([&, i] {
      std::exception_ptr met;
      try {
        const auto collective = ranks.collective(static_cast<int>(i));
        level(*collective, agreement, all[i]->mine, all[i]->training, all[i]->state, soon());
      } catch (const PeerFailure&) {
        met = std::current_exception();
      }
      if (as) as(static_cast<int>(i), met);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Level, WhoIsBehindTrainsOnWithTheStateAheadAndItsOwnStatistics) {
  ThreadRanks ranks(3);
  Rank behind(1, 6), ahead(2, 7), level_with(2, 7);
  level_all(ranks, {&behind, &ahead, &level_with});
  EXPECT_TRUE(behind.trained_to(2));
  EXPECT_TRUE(behind.has_buffers_of(1)) << "batch-norm's statistics are a rank's own";
  EXPECT_EQ(behind.state.step, 7U);
  EXPECT_EQ(behind.training.optimizer().steps(), 7);
  EXPECT_EQ(behind.training.optimizer().loss_scale(), scale_at(7));
  EXPECT_EQ(behind.state.optimizer.loss_scale, scale_at(7));
  EXPECT_EQ(behind.state.tally.digest, (Digest{70, 700}));
  EXPECT_EQ(behind.state.tally.undecodable, (Digest{7, 7}));
  EXPECT_EQ(behind.state.tally.loss_sum, 2);
  EXPECT_EQ(behind.state.tally.measures[0], 21);
  EXPECT_EQ(behind.state.closed_epochs, 3U);
  EXPECT_TRUE(ahead.trained_to(2) && level_with.trained_to(2));
  EXPECT_TRUE(level_with.has_buffers_of(2));
}

TEST(Level, StatisticsOverAllRanksAreLeveledToo) {
  ThreadRanks ranks(2);
  Rank behind(1, 6, true), ahead(2, 7, true);
  level_all(ranks, {&behind, &ahead});
  EXPECT_TRUE(behind.trained_to(2) && behind.has_buffers_of(2));
  EXPECT_TRUE(ahead.has_buffers_of(2));
}

TEST(Level, ANewcomerGetsAllOfIt) {
  ThreadRanks ranks(2);
  Rank member(3, 9), newcomer(0, 0);
  newcomer.mine.has_state = 0;
  level_all(ranks, {&member, &newcomer});
  EXPECT_TRUE(newcomer.trained_to(3));
  EXPECT_TRUE(newcomer.has_buffers_of(3));
  EXPECT_EQ(newcomer.state.step, 9U);
  EXPECT_EQ(newcomer.training.optimizer().steps(), 9);
  EXPECT_EQ(newcomer.training.optimizer().loss_scale(), scale_at(9));
}

TEST(Level, ADeathInTheMiddleLeavesWhatARankHadWhole) {
  ThreadRanks ranks(3);
  Rank behind(1, 6), ahead(2, 7), dead(2, 7);
  std::vector<Standpoint> standpoints{behind.mine, ahead.mine, dead.mine};
  const Agreement agreement = conclude(standpoints);
  const auto part = [&](int number, Rank& rank) {
    const auto collective = ranks.collective(number);
    EXPECT_THROW(level(*collective, agreement, rank.mine, rank.training, rank.state, soon()),
                 PeerFailure);
  };
  std::thread first([&] { part(0, behind); }), second([&] { part(1, ahead); });
  // It takes part in the numbers and the values, and then dies.
  const auto collective = ranks.collective(2);
  std::vector<std::byte> numbers(72), values(behind.training.parameters().values().nbytes());
  collective->broadcast({numbers.data(), numbers.size(), DType::kUInt8}, 1, soon());
  collective->broadcast({values.data(), values.size(), DType::kUInt8}, 1, soon());
  ranks.kill(2);
  first.join();
  second.join();
  EXPECT_TRUE(behind.trained_to(1));
  EXPECT_EQ(behind.state.step, 6U);
  EXPECT_TRUE(behind.has_buffers_of(1));
  EXPECT_TRUE(ahead.trained_to(2));
}

TEST(BufferSnapshot, AStepThatIsRunAgainBeginsWithTheStatisticsOfBefore) {
  Rank rank(1, 1);
  BufferSnapshot snapshot(*rank.model);
  snapshot.take();
  {
    const at::NoGradGuard no_grad;
    rank.model->train(true);
    rank.model->forward(at::ones({2, 3, 32, 32}));
  }
  EXPECT_FALSE(rank.has_buffers_of(1)) << "the forward pass moves them";
  snapshot.restore();
  EXPECT_TRUE(rank.has_buffers_of(1));
}

}  // namespace
}  // namespace musher
