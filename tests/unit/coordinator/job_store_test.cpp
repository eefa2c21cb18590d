#include "coordinator/job_store.h"

#include <cmath>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/thread.h"
#include "coordinator/temporary_folder.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using test::expect_error;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr WallTime kNow{1'700'000'000'123ms};

JobRecord job_named(const std::string& name) {
  JobRecord job;
  job.request.set_training_job_name(name);
  (*job.request.mutable_hyper_parameters())["epochs"] = "3";
  job.request.add_input_data_config()->mutable_shuffle_config()->set_seed(9'007'199'254'740'993);
  job.state = submitted(2, 1, 1h, kNow);
  return job;
}

v1::Metric metric(const std::string& name, std::uint64_t step, double value) {
  v1::Metric metric;
  metric.set_name(name);
  metric.set_step(step);
  metric.set_value(value);
  metric.set_time_ms(1000 + static_cast<std::int64_t>(step));
  return metric;
}

class JobStoreTest : public testing::Test {
 protected:
  std::filesystem::path database() const { return folder_.path() / "jobs.sqlite"; }
  /// As a coordinator that was restarted.
  void reopen() {
    store_.reset();
    store_.emplace(folder_.path());
  }

  TemporaryFolder folder_{"job-store"};
  std::optional<JobStore> store_{folder_.path()};
};

/// Takes the schema one version back: what the version of that index plus 2 brought goes away.
constexpr const char* kBack[] = {
    "DROP TABLE present; DROP TABLE lost; DROP TABLE newcomers; "
    "ALTER TABLE generations DROP COLUMN told;",
    "ALTER TABLE jobs DROP COLUMN max_wait; ALTER TABLE jobs DROP COLUMN interruption; "
    "ALTER TABLE jobs DROP COLUMN spot_interruption;",
    "DROP INDEX jobs_client_token; ALTER TABLE jobs DROP COLUMN client_token;",
    "ALTER TABLE jobs DROP COLUMN max_pending;",
    "ALTER TABLE jobs DROP COLUMN submitter; ALTER TABLE jobs DROP COLUMN priority;",
    "DROP INDEX jobs_created; DROP INDEX jobs_name; DROP INDEX jobs_status; "
    "DROP INDEX jobs_status_created; CREATE INDEX jobs_created ON jobs (created, id);",
};
constexpr int kNewest = std::size(kBack) + 1;

void make_version(int version, const std::filesystem::path& file) {
  std::string sql;
  for (int from = kNewest; from > version; --from) sql += kBack[from - 2];
  sql += "PRAGMA user_version=" + std::to_string(version);
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

TEST_F(JobStoreTest, AStoreOfEachEarlierVersionIsTakenOver) {
  for (int version = 1; version < kNewest; ++version) {
    SCOPED_TRACE(version);
    const std::string name = "of-" + std::to_string(version);
    store_->create(job_named(name));
    store_->add_generation(name, {4, 1, {{0, "h", 10}}, {0}});
    store_.reset();
    make_version(version, database());
    reopen();
    EXPECT_EQ(store_->newest_generation(name)->number, 4u);
    JobState state = decide(store_->get(name).state, Scheduled{}, kNow).state;
    store_->save(name, state);
    EXPECT_EQ(store_->get(name).state, state);
    JobRecord later = job_named("after-" + std::to_string(version));
    later.client_token = later.name();
    store_->create(later);
    EXPECT_EQ(store_->find_token(later.name())->name(), later.name());
  }
}

TEST_F(JobStoreTest, AClientTokenIsUsedOnce) {
  JobRecord job = job_named("a");
  job.client_token = "t";
  store_->create(job);
  store_->create(job_named("b"));
  store_->create(job_named("c"));  // any number may have none
  reopen();
  EXPECT_EQ(store_->find_token("t")->name(), "a");
  EXPECT_EQ(store_->get("a").client_token, "t");
  EXPECT_FALSE(store_->find_token("u"));
  job = job_named("d");
  job.client_token = "t";
  expect_error(ErrorCode::kAlreadyExists, {"\"t\""}, [&] { store_->create(job); });
  store_->remove("a");
  store_->create(job);
  EXPECT_EQ(store_->find_token("t")->name(), "d");
}

TEST_F(JobStoreTest, TheHistoryKnowsAfterARestartUpToWhichGenerationItIsComplete) {
  store_->create(job_named("a"));
  EXPECT_FALSE(store_->newest_told_generation("a"));
  store_->add_generation("a", {1, 1, {{0, "h", 10}, {1, "h", 11}}, {0, 1}});
  store_->add_generation("a", {2, 1, {{1, "h", 11}}, {1, 1}}, false);
  reopen();
  EXPECT_EQ(store_->newest_told_generation("a")->number, 1u);
  EXPECT_EQ(store_->newest_generation("a")->number, 2u);
  store_->tell_generation("a", 2, {kNow, "rank 0 died"});
  reopen();
  EXPECT_EQ(store_->newest_told_generation("a")->number, 2u);
  EXPECT_THAT(store_->notices("a"), SizeIs(1));
}

TEST_F(JobStoreTest, NewcomersOfEachAttempt) {
  store_->create(job_named("a"));
  using State = NewcomerRecord::State;
  store_->save_newcomer("a", 1, {{3, "", 0}, State::kAskedFor});
  store_->save_newcomer("a", 1, {{2, "h", 20}, State::kMember});
  store_->save_newcomer("a", 2, {{2, "", 0}, State::kGivenUp, 4});
  store_->save_newcomer("a", 1, {{3, "h", 30}, State::kJoined});
  reopen();
  EXPECT_THAT(store_->newcomers("a", 1), ElementsAre(NewcomerRecord{{2, "h", 20}, State::kMember},
                                                     NewcomerRecord{{3, "h", 30}, State::kJoined}));
  EXPECT_THAT(store_->newcomers("a", 2),
              ElementsAre(NewcomerRecord{{2, "", 0}, State::kGivenUp, 4}));
  store_->remove("a");
  store_->create(job_named("a"));
  EXPECT_THAT(store_->newcomers("a", 1), IsEmpty());
}

TEST_F(JobStoreTest, AJobComesBackAsItWas) {
  JobRecord job = job_named("a");
  job.workers = 3;
  job.submitter = "ada";
  job.priority = -7;
  store_->create(job);
  JobState state = job.state;
  for (const Event& event :
       std::vector<Event>{Scheduled{}, RanksJoined{1}, RankLost{1, 0, "was killed", false},
                          RankFinished{1, 1, v1::FinishRequest::FAILED, "é \n x", ""}}) {
    state = decide(state, event, kNow + 5s).state;
  }
  state.ran = 17ms;
  state.max_wait = 5h;
  state.max_pending = 7h;
  state.interruption = "EC2 takes host a back";
  state.spot_interruption = true;
  store_->save("a", state, {{kNow, "first"}});
  reopen();
  const JobRecord back = store_->get("a");
  EXPECT_EQ(back.state, state);
  EXPECT_EQ(back.workers, 3);
  EXPECT_EQ(back.submitter, "ada");
  EXPECT_EQ(back.priority, -7);
  EXPECT_EQ(back.client_token, "");
  EXPECT_EQ(back.request.SerializeAsString(), job.request.SerializeAsString());
  ASSERT_THAT(store_->notices("a"), SizeIs(1));
  EXPECT_EQ(store_->notices("a")[0].text, "first");
}

TEST_F(JobStoreTest, ANameIsTakenOnceAndFreeAfterDeletion) {
  store_->create(job_named("a"));
  expect_error(ErrorCode::kAlreadyExists, {"\"a\""}, [&] { store_->create(job_named("a")); });
  store_->add_metrics("a", {metric("train:loss", 1, 2)});
  store_->remove("a");
  expect_error(ErrorCode::kNotFound, {"\"a\""}, [&] { store_->get("a"); });
  store_->create(job_named("a"));
  EXPECT_THAT(store_->metrics("a"), IsEmpty())
      << "a new job of an old name has nothing of the old one";
}

TEST_F(JobStoreTest, WhatIsNotThereIsNotFoundEverywhere) {
  const auto not_found = [](auto call) { expect_error(ErrorCode::kNotFound, {"\"b\""}, call); };
  not_found([&] { store_->save("b", {}); });
  not_found([&] { store_->remove("b"); });
  not_found([&] { store_->add_notice("b", {}); });
  not_found([&] { store_->add_metrics("b", {}); });
  not_found([&] { store_->save_attempt("b", {}); });
  not_found([&] { store_->add_generation("b", {}); });
  not_found([&] { store_->add_slice("b", {}); });
  EXPECT_FALSE(store_->find("b"));
}

TEST_F(JobStoreTest, TheQueueKeepsItsOrderOverARestart) {
  for (const char* name : {"c", "a", "b", "d"}) store_->create(job_named(name));
  store_->save("a", decide(store_->get("a").state, StopRequested{}, kNow).state);
  reopen();
  std::vector<std::string> names;
  for (const JobRecord& job : store_->unfinished()) names.push_back(job.name());
  EXPECT_THAT(names, ElementsAre("c", "b", "d"));
}

TEST_F(JobStoreTest, TextIsDataNeverSql) {
  const std::string evil = "x'; DROP TABLE jobs; --";
  store_->create(job_named(evil));
  store_->add_notice(evil, {kNow, evil});
  EXPECT_EQ(store_->get(evil).name(), evil);
  EXPECT_EQ(store_->notices(evil)[0].text, evil);
}

TEST_F(JobStoreTest, MetricsThatAreSentAgainAreKeptOnce) {
  store_->create(job_named("a"));
  store_->add_metrics("a", {metric("train:loss", 1, 2.5), metric("train:loss", 2, 1.5)});
  store_->add_metrics("a", {metric("train:loss", 2, 1.25), metric("validation:loss", 2, 3)});
  reopen();
  std::vector<double> values;
  for (const v1::Metric& m : store_->metrics("a")) values.push_back(m.value());
  EXPECT_THAT(values, ElementsAre(2.5, 1.25, 3));
}

TEST_F(JobStoreTest, ALossThatIsNoNumberStaysOne) {
  store_->create(job_named("a"));
  store_->add_metrics("a",
                      {metric("train:loss", 1, std::nan("")), metric("train:loss", 2, HUGE_VAL)});
  const auto metrics = store_->metrics("a");
  EXPECT_TRUE(std::isnan(metrics[0].value()));
  EXPECT_TRUE(std::isinf(metrics[1].value()));
}

TEST_F(JobStoreTest, FinalMetricsReplaceEachOther) {
  store_->create(job_named("a"));
  store_->add_metrics("a", {metric("train:loss", 1, 2)});
  store_->save_final_metrics("a", {metric("train:loss", 1, 2), metric("train:accuracy", 1, 0.5)});
  store_->save_final_metrics("a", {metric("train:accuracy", 9, 0.75)});
  reopen();
  const JobRecord job = store_->get("a");
  ASSERT_THAT(job.final_metrics, SizeIs(1));
  EXPECT_EQ(job.final_metrics[0].value(), 0.75);
  EXPECT_THAT(store_->metrics("a"), SizeIs(1));
}

TEST_F(JobStoreTest, NoticesThatAreSentAgainAreKeptOnceInOrder) {
  store_->create(job_named("a"));
  store_->add_notice("a", {kNow, "second"});
  store_->add_notice("a", {kNow, "third"});
  store_->add_notice("a", {kNow - 1s, "first"});
  store_->add_notice("a", {kNow, "second"});
  std::vector<std::string> lines;
  for (const Notice& notice : store_->notices("a")) lines.push_back(notice.text);
  EXPECT_THAT(lines, ElementsAre("first", "second", "third"));
}

TEST_F(JobStoreTest, AnEpochCountsOncePerAttempt) {
  store_->create(job_named("a"));
  v1::EpochReport epoch;
  epoch.set_epoch(3);
  epoch.set_sum(~0ULL);
  EXPECT_TRUE(store_->add_epoch("a", 1, epoch, {kNow, "epoch 4"}));
  EXPECT_FALSE(store_->add_epoch("a", 1, epoch, {kNow + 1s, "epoch 4"}));
  EXPECT_TRUE(store_->add_epoch("a", 2, epoch, {kNow + 2s, "epoch 4"}));
  reopen();
  EXPECT_THAT(store_->notices("a"), SizeIs(2)) << "each record with its line in the history";
}

TEST_F(JobStoreTest, ProgressIsThereAfterARestart) {
  store_->create(job_named("a"));
  EXPECT_FALSE(store_->progress("a"));
  v1::ReportRequest report;
  report.set_step(12);
  report.set_loss(0.5);
  store_->save_progress("a", report);
  reopen();
  EXPECT_EQ(store_->progress("a")->step(), 12);
}

TEST_F(JobStoreTest, TheNewestAttemptHasItsProcessAndItsSlots) {
  store_->create(job_named("a"));
  EXPECT_FALSE(store_->newest_attempt("a"));
  AttemptRecord attempt{1, "token", {{"h2", 1}, {"h1", 2}}, 0, 0, "boot", kNow, {}};
  store_->save_attempt("a", attempt);
  attempt.pid = 4321;
  attempt.pid_start = ~0ULL;
  store_->save_attempt("a", attempt);
  reopen();
  const auto back = store_->newest_attempt("a");
  ASSERT_TRUE(back);
  EXPECT_EQ(back->token, "token");
  EXPECT_EQ(back->pid, 4321);
  EXPECT_EQ(back->pid_start, ~0ULL);
  EXPECT_EQ(back->placement, attempt.placement);
  EXPECT_EQ(back->started, kNow);
  EXPECT_FALSE(back->ended);
  store_->save_attempt("a", {2, "other", {}, 0, 0, "", kNow, kNow});
  EXPECT_EQ(store_->newest_attempt("a")->attempt, 2);
}

TEST_F(JobStoreTest, TheJournalNeverGoesBack) {
  store_->create(job_named("a"));
  const Generation first{4, 1, {{0, "h1", 10}, {2, "h2", 11}}, {0, 0, 2}};
  store_->add_generation("a", first);
  for (std::uint64_t number : {4, 3}) {
    expect_error(ErrorCode::kFailedPrecondition, {"a: generation", "generation 4"}, [&] {
      store_->add_generation("a", {number, 1, {}, {}});
    });
  }
  reopen();
  EXPECT_EQ(store_->newest_generation("a"), first);
}

TEST_F(JobStoreTest, ACheckpointIsItsSlicesUntilItIsCommitted) {
  store_->create(job_named("a"));
  SliceRecord slice{"step-8", 8, 1, 2, "step-8/slice-1", 100, ~0ULL, "{}"};
  EXPECT_THAT(store_->add_slice("a", slice), SizeIs(1));
  EXPECT_THAT(store_->add_slice("a", slice), SizeIs(1)) << "reported again";
  reopen();
  slice.slice = 0;
  const auto all = store_->add_slice("a", slice);
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].slice, 0);
  EXPECT_EQ(all[1].checksum, ~0ULL);
  store_->commit_checkpoint("a", "step-8", {"s3://c/step-8", 8, kNow}, {kNow, "step 8"});
  store_->commit_checkpoint("a", "step-9", {"s3://c/step-9", 9, kNow}, {kNow, "step 9"});
  EXPECT_THAT(store_->notices("a"), SizeIs(2));
  ASSERT_THAT(store_->checkpoints("a"), SizeIs(2));
  EXPECT_EQ(store_->checkpoints("a")[1].uri, "s3://c/step-9");
  EXPECT_THAT(store_->add_slice("a", slice), SizeIs(1))
      << "a new checkpoint of that name starts empty";
}

TEST_F(JobStoreTest, ThreadsDoNotDisturbEachOther) {
  store_->create(job_named("a"));
  constexpr int kThreads = 4;
  std::vector<Thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back("store", [&, t] {
      const std::string name = "t" + std::to_string(t);
      store_->create(job_named(name));
      for (int i = 0; i < 10; ++i) {
        store_->add_notice("a", {kNow, name + "-" + std::to_string(i)});
        store_->save_progress(name, {});
        store_->save(name, store_->get(name).state);
      }
    });
  }
  for (Thread& thread : threads) thread.join_and_rethrow();
  EXPECT_THAT(store_->notices("a"), SizeIs(40));
  EXPECT_THAT(store_->unfinished(), SizeIs(5));
}

TEST_F(JobStoreTest, ASecondCoordinatorOnTheSameFolderIsRefused) {
  expect_error(ErrorCode::kFailedPrecondition, {folder_.path().string(), std::to_string(getpid())},
               [&] { JobStore second(folder_.path()); });
  store_.reset();
  EXPECT_NO_THROW(JobStore(folder_.path()));
}

TEST_F(JobStoreTest, ProcessesThatTheCoordinatorStartedDoNotHoldTheLock) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    // Reads until the test closes the other end, as mpirun goes on after its coordinator.
    dup2(pipe_ends[0], 0);
    close(pipe_ends[1]);
    execlp("cat", "cat", nullptr);
    _exit(127);
  }
  close(pipe_ends[0]);
  // The child holds the lock until its exec, which closes it.
  store_.reset();
  std::optional<JobStore> again;
  for (int i = 0; i < 2000 && !again; ++i) {
    try {
      again.emplace(folder_.path());
    } catch (const Error&) {
      usleep(5'000);
    }
  }
  EXPECT_TRUE(again);
  close(pipe_ends[1]);
  waitpid(child, nullptr, 0);
}

TEST_F(JobStoreTest, WhatWasAnsweredSurvivesSigkillInTheMiddleOfWrites) {
  store_.reset();
  for (int round = 0; round < 5; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      JobStore store(folder_.path());
      for (int i = 0;; ++i) {
        const std::string name = "r" + std::to_string(round) + "-" + std::to_string(i);
        store.create(job_named(name));
        store.save(name, decide(store.get(name).state, StopRequested{}, kNow).state,
                   {{kNow, name}});
        if (write(pipe_ends[1], &i, sizeof i) != sizeof i) _exit(1);
      }
    }
    close(pipe_ends[1]);
    int last = -1;
    for (int answer = 0;
         last < 5 + round && read(pipe_ends[0], &answer, sizeof answer) == sizeof answer;)
      last = answer;
    kill(child, SIGKILL);
    for (int answer = 0; read(pipe_ends[0], &answer, sizeof answer) == sizeof answer;)
      last = answer;
    close(pipe_ends[0]);
    waitpid(child, nullptr, 0);

    ASSERT_GE(last, 5);
    JobStore store(folder_.path());
    for (int i = 0; i <= last; ++i) {
      const std::string name = "r" + std::to_string(round) + "-" + std::to_string(i);
      ASSERT_EQ(store.get(name).state.status, Status::Stopped) << name;
      ASSERT_THAT(store.notices(name), SizeIs(1)) << name;
    }
  }
}

TEST_F(JobStoreTest, ADamagedFileGivesOneClearError) {
  for (int i = 0; i < 50; ++i) store_->create(job_named("job-" + std::to_string(i)));
  store_.reset();
  const auto size = std::filesystem::file_size(database());
  {
    std::fstream file(database(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    const std::string noise(static_cast<std::size_t>(size) - 4096, '\xa5');
    file.write(noise.data(), static_cast<std::streamsize>(noise.size()));
  }
  expect_error(ErrorCode::kDataLoss, {database().string(), "damaged", "restore a copy"},
               [&] { JobStore store(folder_.path()); });
}

TEST_F(JobStoreTest, AFileOfAnotherKindGivesOneClearError) {
  store_.reset();
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
    std::filesystem::remove(entry);
  std::ofstream(database()) << std::string(5000, 'x');
  expect_error(ErrorCode::kDataLoss, {database().string(), "not a database"},
               [&] { JobStore store(folder_.path()); });
}

TEST_F(JobStoreTest, AFileOfANewerMusherIsLeftAlone) {
  store_->create(job_named("a"));
  store_.reset();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &raw), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(raw, "PRAGMA user_version=99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(raw);
  expect_error(ErrorCode::kFailedPrecondition, {"newer Musher", "99"},
               [&] { JobStore store(folder_.path()); });
}

TEST(Describe, HasWhatSageMakersAnswerHas) {
  JobRecord job = job_named("a");
  EXPECT_FALSE(describe(job, kNow).has_training_start_time());
  for (const Event& event : std::vector<Event>{Scheduled{}, RanksJoined{1}}) {
    job.state = decide(job.state, event, kNow + 10s).state;
  }
  EXPECT_EQ(describe(job, kNow + 12s).billable_time_in_seconds(), 2);
  for (int rank : {0, 1}) {
    job.state =
        decide(job.state, RankFinished{1, rank, v1::FinishRequest::COMPLETED, "", "s3://b/m"},
               kNow + 20s)
            .state;
  }
  EXPECT_FALSE(describe(job, kNow + 20s).has_model_artifacts()) << "not before the job is over";
  job.state = decide(job.state, AttemptEnded{1, {}, ""}, kNow + 20500ms).state;
  job.final_metrics = {metric("validation:accuracy", 9, 0.91)};
  const auto answer = describe(job, kNow + 1h);
  EXPECT_EQ(answer.training_job_arn(), "arn:aws:sagemaker:local:000000000000:training-job/a");
  EXPECT_EQ(answer.training_job_status(), Status::Completed);
  EXPECT_EQ(answer.model_artifacts().s3_model_artifacts(), "s3://b/m");
  EXPECT_EQ(answer.hyper_parameters().at("epochs"), "3");
  EXPECT_EQ(answer.training_time_in_seconds(), 11);
  EXPECT_EQ(answer.secondary_status_transitions_size(), 4);
  EXPECT_FLOAT_EQ(answer.final_metric_data_list(0).value(), 0.91F);
  EXPECT_EQ(answer.creation_time().seconds(), 1'700'000'000);
  EXPECT_EQ(answer.failure_reason(), "");
}

}  // namespace
}  // namespace musher
