#include "launch/slurm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "coordinator/slurm_batch.h"
#include "launch/mpirun.h"

namespace musher {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::IsSupersetOf;
using testing::Not;
using testing::StartsWith;

SlurmRequest four_ranks() {
  SlurmRequest request;
  request.name = "dogs.1.musher-1-2";
  request.ranks = 4;
  request.nodes = 2;
  request.folder = "/shared/musher-1";
  request.limit = seconds(3601);
  request.warning = seconds(120);
  return request;
}

TEST(Slurm, WhatIsAskedForIsInTheArgumentsAndWhatIsNotIsLeftToSlurm) {
  SlurmOptions options;
  EXPECT_THAT(sbatch_argv(options, four_ranks()), Not(Contains(StartsWith("--partition"))));
  options.partition = "gpu";
  options.account = "physics";
  options.gpus_per_node = "a100:4";
  options.cpus_per_rank = 6;
  const auto argv = sbatch_argv(options, four_ranks());
  EXPECT_EQ(argv.front(), "/usr/bin/sbatch");
  EXPECT_EQ(argv.back(), "/shared/musher-1/batch.sh");
  EXPECT_THAT(argv, IsSupersetOf({"--job-name=dogs.1.musher-1-2", "--partition=gpu",
                                  "--account=physics", "--gpus-per-node=a100:4", "--ntasks=4",
                                  "--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=6",
                                  "--signal=B:TERM@120", "--no-requeue"}));
  EXPECT_THAT(argv, Contains("--time=61")) << "minutes, and no second less than asked for";
}

TEST(Slurm, OfTheCoordinatorsEnvironmentNothingButPathAndHomeGoesToSlurm) {
  EXPECT_THAT(sbatch_argv({}, four_ranks()), Contains("--export=PATH,HOME"));
}

TEST(Slurm, OptionsThatSlurmWouldMisreadAreRefusedByName) {
  const auto refusal = [](const SlurmOptions& options) -> std::string {
    try {
      check_slurm_options(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  SlurmOptions options;
  EXPECT_EQ(refusal(options), "");
  options.gpus_per_node = "4";
  EXPECT_EQ(refusal(options), "");
  for (const char* wrong : {"a100", "a100:", ":4", "0", "four", "-1", "a100:4:2"}) {
    options.gpus_per_node = wrong;
    EXPECT_THAT(refusal(options), StartsWith("--slurm-gpus-per-node")) << wrong;
  }
  options = {};
  options.partition = "gpu cpu";
  EXPECT_THAT(refusal(options), StartsWith("--slurm-partition"));
}

TEST(Slurm, TheScriptQuotesItsPaths) {
  EXPECT_EQ(batch_script("/opt/it's/musher", "/shared/a b"),
            "#!/bin/sh\nexec '/opt/it'\\''s/musher' slurm run '/shared/a b'\n");
}

TEST(Slurm, TheIdIsReadWithAndWithoutACluster) {
  EXPECT_EQ(parse_sbatch("12\n"), 12);
  EXPECT_EQ(parse_sbatch("12;east\n"), 12);
  EXPECT_EQ(parse_sbatch(""), std::nullopt);
  EXPECT_EQ(parse_sbatch("Submitted batch job 12\n"), std::nullopt);
}

TEST(Slurm, SqueueIsReadAndLinesThatAreNoJobOfOursAreLeftOut) {
  const auto jobs = parse_squeue(
      "7|RUNNING|None|1-02:03:04|h[1-2]|dogs.1.musher-1-2\n"
      "8|PENDING|Priority|5:00||somebody|else's\n"
      "9_[1-4]|PENDING|Resources|INVALID||array\n"
      "10|CANCELLED|None|UNLIMITED||a\n"
      "slurm_load_jobs error: nonsense\n"
      "11|TIMEOUT\n");
  EXPECT_THAT(jobs,
              ElementsAre(SlurmJob{7, "dogs.1.musher-1-2", "RUNNING", "None", "h[1-2]",
                                   hours(26) + minutes(3) + seconds(4)},
                          SlurmJob{8, "somebody|else's", "PENDING", "Priority", "", minutes(5)},
                          SlurmJob{10, "a", "CANCELLED", "None", "", std::nullopt}));
}

TEST(Slurm, EveryStateHasItsPhaseAndItsEnd) {
  for (const char* state : {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"}) {
    EXPECT_EQ(phase_of(state), SlurmPhase::kWaits) << state;
    EXPECT_EQ(end_of(state), SlurmEnd::kTaken) << "where it ran before: " << state;
  }
  for (const char* state : {"RUNNING", "SUSPENDED", "STOPPED", "a word of a later Slurm"}) {
    EXPECT_EQ(phase_of(state), SlurmPhase::kRuns) << state;
  }
  EXPECT_EQ(phase_of("COMPLETING"), SlurmPhase::kEnding);
  const std::pair<const char*, SlurmEnd> ends[] = {
      {"COMPLETED", SlurmEnd::kBatchEnded}, {"FAILED", SlurmEnd::kBatchEnded},
      {"CANCELLED", SlurmEnd::kCancelled},  {"TIMEOUT", SlurmEnd::kTimeLimit},
      {"DEADLINE", SlurmEnd::kTimeLimit},   {"PREEMPTED", SlurmEnd::kTaken},
      {"BOOT_FAIL", SlurmEnd::kTaken},      {"REVOKED", SlurmEnd::kTaken},
      {"NODE_FAIL", SlurmEnd::kFailed},     {"OUT_OF_MEMORY", SlurmEnd::kFailed}};
  for (const auto& [state, end] : ends) {
    EXPECT_EQ(phase_of(state), SlurmPhase::kOver) << state;
    EXPECT_EQ(end_of(state), end) << state;
  }
}

TEST(Slurm, AJobIsMeantByItsIdOrWhereThatIsNotKnownByItsName) {
  EXPECT_THAT(scancel_argv({}, {"dogs", 12}), ElementsAre("/usr/bin/scancel", "--quiet", "12"));
  EXPECT_THAT(scancel_argv({}, {"dogs", 0}),
              ElementsAre("/usr/bin/scancel", "--quiet", "--me", "--name=dogs"));
  EXPECT_THAT(scancel_term_argv({}, {"dogs", 12}), IsSupersetOf({"--batch", "--signal=TERM"}));
}

TEST(Slurm, ARefusalIsToldFromASlurmThatIsAway) {
  EXPECT_TRUE(is_slurm_away(
      "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
      "failure)"));
  EXPECT_TRUE(
      is_slurm_away("sbatch: error: Batch job submission failed: Socket timed out on "
                    "send/recv operation"));
  EXPECT_FALSE(is_slurm_away(
      "sbatch: error: Batch job submission failed: Invalid partition name specified"));
}

TEST(Slurm, ThePlanOfABatchJobIsReadAsItWasWritten) {
  const SlurmBatchPlan plan{{"mpirun", "-n", "2"}, {{"A", "b \"c\"\n"}}, "/tmp/s", "10.0.0.1", ""};
  const SlurmBatchPlan again = SlurmBatchPlan::parse(plan.text());
  EXPECT_EQ(again.mpirun, plan.mpirun);
  EXPECT_EQ(again.environment, plan.environment);
  EXPECT_EQ(again.session, plan.session);
  EXPECT_EQ(again.coordinator, plan.coordinator);
  EXPECT_THROW(SlurmBatchPlan::parse("{}"), Error);
}

TEST(Slurm, MpirunTakesTheAllocationAndNothingElse) {
  MpirunOptions options;
  options.mpirun = "/venv/bin/mpirun";
  options.prefix = "/venv";
  const auto argv = mpirun_argv(options);
  EXPECT_THAT(argv, IsSupersetOf({"ras", "slurm", "plm", "--prefix"}));
  EXPECT_THAT(argv, Not(Contains("plm_ssh_agent")));
  EXPECT_THAT(argv, Not(Contains("--oversubscribe")));
}

}  // namespace
}  // namespace musher
