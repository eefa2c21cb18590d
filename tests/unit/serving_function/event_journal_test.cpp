#include "serving/function/event_journal.h"

#include <filesystem>
#include <fstream>
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "serving/function/function_service.h"
#include "support/expect_error.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::expect_error;
using testing::ElementsAre;

const FunctionEvent::Time kStart{1'000h};

class EventJournalTest : public testing::Test {
 public:
  EventJournalTest()
      : base_(fs::path(testing::TempDir()) / ("events-" + std::to_string(getpid()))),
        folder_(base_ / "state" / "dogs") {}
  ~EventJournalTest() override { fs::remove_all(base_); }

 protected:
  static FunctionEvent event(std::int64_t number, const std::string& id) {
    FunctionEvent made;
    made.number = number;
    made.request_id = id;
    made.function_arn = "arn:" + id;
    made.payload = "{\"url\": \"" + id + "\"}";
    made.accepted = kStart;
    made.due = kStart;
    return made;
  }
  std::vector<std::string> ids() {
    std::vector<std::string> ids;
    for (const FunctionEvent& one : EventStore(folder_).all()) ids.push_back(one.request_id);
    return ids;
  }
  static bool accepted(EventJournal& journal, const std::string& id) {
    std::promise<bool> answer;
    journal.accept(event(0, id),
                   [&](const FunctionEvent&, bool stored) { answer.set_value(stored); });
    return answer.get_future().get();
  }
  static bool accepted(FunctionService& service, const std::string& id) {
    std::promise<bool> answer;
    return service.try_queue({id, "arn", "{}"}, [&](bool good) { answer.set_value(good); }) &&
           answer.get_future().get();
  }
  FunctionOptions options() {
    FunctionOptions options;
    options.name = "dogs";
    options.state = folder_;
    return options;
  }
  static void execute_one_that_fails(const FunctionOptions& options);
  void execute_sql(const std::string& sql) {
    sqlite::Database(folder_ / "events.sqlite").execute(sql);
  }

  const fs::path base_;
  const fs::path folder_;
};

TEST_F(EventJournalTest, TheStoreHasWhatWasAcceptedAndIsNotOver) {
  {
    EventStore store(folder_);
    EXPECT_TRUE(store.all().empty());
    store.apply({{event(1, "a"), event(2, "b"), event(3, "c")}, {}, {}});
    store.apply({{}, {{3, 2, kStart + 180s}}, {1}});
  }
  EventStore store(folder_);
  const std::vector<FunctionEvent> events = store.all();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].number, 2);
  EXPECT_EQ(events[0].request_id, "b");
  EXPECT_EQ(events[0].function_arn, "arn:b");
  EXPECT_EQ(events[0].payload, R"({"url": "b"})");
  EXPECT_EQ(events[0].accepted, kStart);
  EXPECT_EQ(events[0].due, kStart);
  EXPECT_EQ(events[0].executions, 0);
  EXPECT_EQ(events[1].request_id, "c");
  EXPECT_EQ(events[1].accepted, kStart);
  EXPECT_EQ(events[1].due, kStart + 180s);
  EXPECT_EQ(events[1].executions, 2);
}

TEST_F(EventJournalTest, OfATransactionThatFailsNothingIsWritten) {
  {
    EventStore store(folder_);
    store.apply({{event(1, "a")}, {}, {}});
    EXPECT_THROW(store.apply({{event(2, "b"), event(1, "again")}, {}, {}}), Error);
  }
  EXPECT_THAT(ids(), ElementsAre("a"));
}

TEST_F(EventJournalTest, TheFolderIsOfOneProcessAndItsOwnerAlone) {
  {
    const EventStore store(folder_);
    expect_error(ErrorCode::kFailedPrecondition, {folder_.string(), "another function"},
                 [&] { EventStore second(folder_); });
  }
  fs::permissions(folder_, fs::perms::owner_all | fs::perms::group_read);
  expect_error(ErrorCode::kFailedPrecondition, {folder_.string(), "chmod 700"},
               [&] { EventStore open_to_others(folder_); });
}

TEST_F(EventJournalTest, ADamagedFileIsNamed) {
  fs::create_directories(folder_);
  fs::permissions(folder_, fs::perms::owner_all);
  std::ofstream(folder_ / "events.sqlite") << std::string(4096, 'x');
  expect_error(ErrorCode::kDataLoss, {"events.sqlite"}, [&] { EventStore damaged(folder_); });
}

TEST_F(EventJournalTest, NumbersGoOnAfterThoseOfTheProcessBefore) {
  {
    EventJournal journal(folder_, make_silent_logger());
    EXPECT_TRUE(journal.recover().empty());
    EXPECT_TRUE(accepted(journal, "a"));
    EXPECT_TRUE(accepted(journal, "b"));
    journal.end(1);
  }
  {
    EventJournal journal(folder_, make_silent_logger());
    const auto recovered = journal.recover();
    ASSERT_EQ(recovered.size(), 1U);
    EXPECT_EQ(recovered[0].number, 2);
    EXPECT_TRUE(accepted(journal, "c"));
    journal.end(2);
  }
  EXPECT_THAT(ids(), ElementsAre("c"));
}

TEST_F(EventJournalTest, WhatCanNotBeWrittenIsNotAcceptedAndAnEndIsWrittenLater) {
  {
    EventJournal journal(folder_, make_silent_logger());
    ASSERT_TRUE(accepted(journal, "ended"));
    execute_sql("ALTER TABLE events RENAME TO elsewhere");
    journal.end(1);
    EXPECT_FALSE(accepted(journal, "refused"));
    execute_sql("ALTER TABLE elsewhere RENAME TO events");
    EXPECT_TRUE(accepted(journal, "accepted"));
  }
  EXPECT_THAT(ids(), ElementsAre("accepted"));
}

std::string fail(const std::string&, const FunctionContext&, FunctionLog&) {
  throw FunctionError("ModelError", "as asked");
}

/// A process in which one event is accepted and its first execution fails.
void EventJournalTest::execute_one_that_fails(const FunctionOptions& options) {
  std::promise<void> began;
  FunctionService service(
      options,
      [&](const std::string& payload, const FunctionContext& seen, FunctionLog& log) {
        began.set_value();
        return fail(payload, seen, log);
      },
      make_silent_logger());
  ASSERT_TRUE(accepted(service, "event-1"));
  began.get_future().wait();
}

TEST_F(EventJournalTest, AnEventIsExecutedByTheNextProcess) {
  FunctionOptions none = options();
  none.reserved_concurrency = 0;
  {
    FunctionService service(none, fail, make_silent_logger());
    ASSERT_TRUE(accepted(service, "event-1"));
  }
  EXPECT_THAT(ids(), ElementsAre("event-1"));
  std::promise<std::string> executed;
  {
    FunctionService service(
        options(),
        [&](const std::string& payload, const FunctionContext& seen, FunctionLog&) {
          executed.set_value(seen.request_id);
          return payload;
        },
        make_silent_logger());
    EXPECT_EQ(executed.get_future().get(), "event-1");
  }
  EXPECT_TRUE(ids().empty()) << "its last try is done";
}

TEST_F(EventJournalTest, ExecutionsThatFailedCountInTheNextProcess) {
  FunctionOptions patient = options();
  patient.events.first_retry = 1h;
  execute_one_that_fails(patient);
  const auto events = EventStore(folder_).all();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].executions, 1);
  EXPECT_GE(events[0].due, events[0].accepted + 1h);
}

TEST_F(EventJournalTest, AnEventThatIsGivenUpIsGone) {
  FunctionOptions once = options();
  once.events.max_retries = 0;
  execute_one_that_fails(once);
  EXPECT_TRUE(ids().empty());
}

TEST_F(EventJournalTest, WhatGrewTooOldMeanwhileIsNotExecuted) {
  FunctionEvent old = event(1, "old");
  old.accepted = old.due = FunctionEvent::now() - 7h;
  EventStore(folder_).apply({{old}, {}, {}});
  std::promise<std::string> first;
  {
    FunctionService service(
        options(),
        [&](const std::string& payload, const FunctionContext& seen, FunctionLog&) {
          first.set_value(seen.request_id);
          return payload;
        },
        make_silent_logger());
    ASSERT_TRUE(accepted(service, "new"));
    EXPECT_EQ(first.get_future().get(), "new");
  }
  EXPECT_TRUE(ids().empty());
}

}  // namespace
}  // namespace musher
