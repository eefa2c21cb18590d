// What ranks conclude from where each of them stands.
#include "trainer/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace musher {
namespace {

using ::testing::ElementsAre;

Standpoint at(std::int64_t member, std::int64_t step, std::int64_t closed_epochs = 0) {
  Standpoint one;
  one.member = member;
  one.has_state = 1;
  one.has_memory = 1;
  one.step = step;
  one.closed_epochs = closed_epochs;
  one.plan = 7;
  return one;
}

Standpoint newcomer(std::int64_t member) {
  Standpoint one = at(member, 0);
  one.has_state = one.has_memory = 0;
  one.regroup = 1;
  return one;
}

TEST(Agreement, AllAtTheSameStepNeedNothing) {
  const Agreement agreement = conclude({at(0, 5), at(2, 5), at(3, 5)});
  EXPECT_THAT(agreement.members, ElementsAre(0, 2, 3));
  EXPECT_EQ(agreement.step, 5U);
  EXPECT_FALSE(agreement.level);
  EXPECT_FALSE(agreement.allocate);
  EXPECT_FALSE(agreement.regroup);
}

TEST(Agreement, WhoeverSawTheStepCommittedBringsTheOthersLevel) {
  const Agreement agreement = conclude({at(0, 5), at(1, 6), at(2, 6)});
  EXPECT_TRUE(agreement.level);
  EXPECT_EQ(agreement.step, 6U);
  EXPECT_EQ(agreement.source, 1);
  EXPECT_TRUE(is_behind(at(0, 5), agreement));
  EXPECT_FALSE(is_behind(at(1, 6), agreement));
}

TEST(Agreement, ANewcomerIsGivenTheStateAndAllGetMemoryAnew) {
  const Agreement agreement = conclude({at(1, 0), newcomer(4)});
  EXPECT_EQ(agreement.source, 0) << "though both are at step 0";
  EXPECT_TRUE(agreement.level);
  EXPECT_TRUE(agreement.allocate);
  EXPECT_TRUE(agreement.regroup);
  EXPECT_TRUE(is_behind(newcomer(4), agreement));
}

TEST(Agreement, AnEpochThatSomeHaveNotClosedIsClosedAgainByAll) {
  EXPECT_EQ(conclude({at(0, 10, 1), at(1, 10, 0)}).closed_epochs, 0U);
  EXPECT_EQ(conclude({at(0, 10, 1), at(1, 10, 1)}).closed_epochs, 1U);
}

TEST(Agreement, WhoIsBehindDoesNotOpenAnEpochAgain) {
  // Rank 0 is a step behind, before the end of the epoch that rank 1 has closed.
  EXPECT_EQ(conclude({at(0, 9, 0), at(1, 10, 1)}).closed_epochs, 1U);
  EXPECT_EQ(conclude({at(0, 10, 1), newcomer(5)}).closed_epochs, 1U);
}

TEST(Agreement, OneRankThatSawTheStopStopsAll) {
  Standpoint stopping = at(1, 6);
  stopping.stopping = 1;
  EXPECT_TRUE(conclude({at(0, 6), stopping}).stopping);
}

TEST(Agreement, RanksWithAnotherModelAreNamed) {
  Standpoint other = at(3, 5);
  other.plan = 8;
  try {
    conclude({at(0, 5), other});
    FAIL() << "their gradients would have been summed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("rank 3 has another model"));
  }
}

TEST(Agreement, NewcomersAloneCanNotGoOn) {
  EXPECT_THROW(conclude({newcomer(4), newcomer(5)}), Error);
}

}  // namespace
}  // namespace musher
