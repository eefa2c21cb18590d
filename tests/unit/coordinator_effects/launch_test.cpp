#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "launch/mpirun.h"
#include "launch/mpirun_output.h"
#include "launch/rank_output.h"

namespace musher {
namespace {

using Kind = MpirunLine::Kind;
using testing::Contains;
using testing::IsSupersetOf;
using testing::Not;

MpirunOptions two_ranks() {
  MpirunOptions options;
  options.mpirun = "/venv/bin/mpirun";
  options.trainer = "/bin/musher-trainer";
  options.ranks = options.ranks_per_host = 2;
  options.cores = 5;
  options.coordinator = "127.0.0.1:7077";
  options.job = "dogs";
  options.attempt = 3;
  options.token_file = "/state/token";
  options.environment = {{"SECRET", "hush"}};
  return options;
}

TEST(Mpirun, ValuesOfTheJobsEnvironmentDoNotShowInTheArguments) {
  const auto argv = mpirun_argv(two_ranks());
  EXPECT_EQ(argv.front(), "/venv/bin/mpirun");
  EXPECT_THAT(argv, IsSupersetOf({"--with-ft", "ulfm", "-x", "SECRET", "/state/token", "dogs"}));
  for (const std::string& word : argv) EXPECT_EQ(word.find("hush"), std::string::npos) << word;
}

TEST(Mpirun, RootIsAllowedOnlyWhereWeAreRoot) {
  MpirunOptions options = two_ranks();
  EXPECT_THAT(mpirun_argv(options), Not(Contains("--allow-run-as-root")));
  options.as_root = true;
  EXPECT_THAT(mpirun_argv(options), Contains("--allow-run-as-root"));
}

TEST(Mpirun, CoresAreSharedEvenlyAndEveryRankHasOne) {
  EXPECT_EQ(threads_per_rank(5, 2), 2);
  EXPECT_EQ(threads_per_rank(2, 4), 1);
  const auto argv = mpirun_argv(two_ranks());
  const auto flag = std::find(argv.begin(), argv.end(), "--threads");
  ASSERT_NE(flag, argv.end());
  EXPECT_EQ(*(flag + 1), "2");
}

TEST(Mpirun, HostfilesAreReadAsOpenMpiReadsThem) {
  const auto hosts = parse_hostfile("# the rack\nh1 slots=4\n\nh2   # one\n");
  const std::vector<std::pair<std::string, int>> expected{{"h1", 4}, {"h2", 1}};
  EXPECT_EQ(hosts, expected);
  EXPECT_THROW(parse_hostfile("h1 slots=four\n"), Error);
}

TEST(Mpirun, AHostsNameThatBeginsLikeALoopbackAddressIsAnotherMachine) {
  EXPECT_TRUE(is_this_machine("127.0.0.1"));
  EXPECT_TRUE(is_this_machine(this_machine()));
  EXPECT_FALSE(is_this_machine("127.evil.example"));
}

TEST(RankFiles, NamesAreReadAsTheyAreWrittenAndNoOthers) {
  for (const RankStream stream : {RankStream{0, false}, RankStream{1234, true}}) {
    EXPECT_EQ(parse_rank_file_name(rank_file_name(stream)), stream);
  }
  EXPECT_EQ(rank_file_name({3, true}), "rank-3.stderr");
  for (const char* name :
       {"", "output", "token", "rank-.stdout", "rank--1.stdout", "rank-1.stdout2", "rank-1x.stderr",
        "rank-3", "stdout", "rank-99999999999.stdout"}) {
    EXPECT_FALSE(parse_rank_file_name(name)) << name;
  }
}

// The lines are Open MPI 5.0.11's own.
TEST(MpirunOutput, TellsRanksAndStreamsApart) {
  const MpirunLine out = parse_mpirun_line("[1,12]<stdout>: a [1,3]<stdout>: b");
  EXPECT_EQ(out.kind, Kind::kRank);
  EXPECT_EQ(out.rank, 12);
  EXPECT_FALSE(out.error);
  EXPECT_EQ(out.text, "a [1,3]<stdout>: b");
  const MpirunLine err = parse_mpirun_line("[1,0]<stderr>: ");
  EXPECT_EQ(err.kind, Kind::kRank);
  EXPECT_TRUE(err.error);
  EXPECT_EQ(err.text, "");
}

TEST(MpirunOutput, HowARankEnded) {
  const std::string who = "[vm:14855] [prterun-vm-14855@0,0] odls:waitpid_fired child ";
  const MpirunLine code = parse_mpirun_line(who + "[prterun-vm-14855@1,1] exit code 7");
  ASSERT_EQ(code.kind, Kind::kExit);
  EXPECT_EQ(code.exit, (RankExit{1, 1, 0, 7, ""}));
  EXPECT_EQ(code.exit.text(), "exited with code 7");
  const MpirunLine killed =
      parse_mpirun_line(who + "process [prterun-vm-14833@1,10] terminated with signal Killed");
  ASSERT_EQ(killed.kind, Kind::kExit);
  EXPECT_EQ(killed.exit, (RankExit{1, 10, 0, 0, "Killed"}));
  EXPECT_EQ(killed.exit.text(), "was killed by signal 9 (Killed)");
}

TEST(MpirunOutput, ARankThatWasStartedLaterHasANameOfItsOwnAndAPid) {
  const std::string who = "[vm:4092] [prterun-vm-4092@0,0] odls:";
  const MpirunLine gone = parse_mpirun_line(
      who + "wait_local_proc child process [prterun-vm-4092@2,0] pid 4108 terminated");
  ASSERT_EQ(gone.kind, Kind::kGone);
  EXPECT_EQ(gone.exit.job, 2);
  EXPECT_EQ(gone.exit.rank, 0);
  EXPECT_EQ(gone.exit.pid, 4108);
  const MpirunLine exit = parse_mpirun_line(
      who + "waitpid_fired child process [prterun-vm-4092@3,0] terminated with signal Killed");
  ASSERT_EQ(exit.kind, Kind::kExit);
  EXPECT_EQ(exit.exit, (RankExit{3, 0, 0, 0, "Killed"}));
}

TEST(MpirunOutput, ChatterIsNoMessageAndMessagesAreNoChatter) {
  for (const char* line :
       {"[vm:1] [prterun-vm-1@0,0] odls:constructing child list",
        "[vm:1] [prterun-vm-1@0,0] local:launch",
        "[1,0]<stderr>: [vm:1] [prterun-vm-1@0,0] hwloc:set on child [prterun-vm-1@1,0] cpuset "
        "NULL",
        "[vm:1] [prterun-vm-1@0,0] odls:waitpid_fired child process [prterun-vm-1@1,1] terminated "
        "with non-zero status"}) {
    EXPECT_EQ(parse_mpirun_line(line).kind, Kind::kChatter) << line;
  }
  for (const char* line :
       {"prterun was unable to launch the specified application", "",
        "[vm:1] PRTE ERROR: Not found in file x.c at line 3", "[1,x]<stdout>: y"}) {
    const MpirunLine parsed = parse_mpirun_line(line);
    EXPECT_EQ(parsed.kind, Kind::kMpirun) << line;
    EXPECT_EQ(parsed.text, line);
  }
}

}  // namespace
}  // namespace musher
