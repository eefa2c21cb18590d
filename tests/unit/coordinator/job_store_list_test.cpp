#include <gmock/gmock.h>
#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include "coordinator/job_store.h"
#include "coordinator/temporary_folder.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using google::protobuf::util::TimeUtil;
using List = v1::ListTrainingJobsRequest;
using test::expect_error;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr WallTime kNow{1'700'000'000'000ms};

class ListTest : public testing::Test {
 protected:
  void SetUp() override {
    // In the order of submission; b and d share their time of creation.
    add("b", 10s);
    add("d", 10s);
    add("a", 20s);
    add("c", 30s);
    add("resnet-5", 40s);
    store_.save("d", decide(store_.get("d").state, StopRequested{}, kNow + 50s).state);
    store_.save("c", decide(store_.get("c").state, JobFailed{"x"}, kNow + 60s).state);
  }

  void add(const std::string& name, std::chrono::seconds after) {
    JobRecord job;
    job.request.set_training_job_name(name);
    job.state = submitted(1, 0, 1h, kNow + after);
    store_.create(job);
  }

  std::vector<std::string> page(List& request) {
    const auto response = store_.list(request);
    std::vector<std::string> names;
    for (const auto& summary : response.training_job_summaries())
      names.push_back(summary.training_job_name());
    request.set_next_token(response.next_token());
    return names;
  }

  /// All pages, with their sizes.
  std::vector<std::string> all(List request) {
    std::vector<std::string> names;
    do {
      const std::vector<std::string> more = page(request);
      if (!request.next_token().empty()) {
        EXPECT_EQ(static_cast<int>(more.size()), request.max_results());
      }
      names.insert(names.end(), more.begin(), more.end());
    } while (!request.next_token().empty() && names.size() < 100);
    return names;
  }

  TemporaryFolder folder_{"job-list"};
  JobStore store_{folder_.path()};
};

TEST_F(ListTest, ByCreationUnlessAskedOtherwise) {
  EXPECT_THAT(all({}), ElementsAre("b", "d", "a", "c", "resnet-5"));
}

TEST_F(ListTest, EverySortOrderPagesWithoutGapOrRepetition) {
  for (int sort = 0; sort <= 3; ++sort) {
    for (int order = 0; order <= 2; ++order) {
      List request;
      request.set_sort_by(static_cast<v1::SortBy>(sort));
      request.set_sort_order(static_cast<List::SortOrder>(order));
      const std::vector<std::string> whole = all(request);
      EXPECT_EQ(whole.size(), 5);
      for (int size = 1; size <= 5; ++size) {
        request.set_max_results(size);
        EXPECT_EQ(all(request), whole)
            << "sort " << sort << ", order " << order << ", pages of " << size;
      }
    }
  }
}

TEST_F(ListTest, SortsByNameAndByStatus) {
  List request;
  request.set_sort_by(v1::SortBy::Name);
  request.set_sort_order(List::Descending);
  EXPECT_THAT(all(request), ElementsAre("resnet-5", "d", "c", "b", "a"));
  request.set_sort_by(v1::SortBy::Status);
  request.set_sort_order(List::Ascending);
  EXPECT_THAT(all(request), ElementsAre("c", "b", "a", "resnet-5", "d"))
      << "Failed, InProgress, Stopped";
}

TEST_F(ListTest, FiltersBeforeItPages) {
  List request;
  request.set_status_equals(Status::InProgress);
  request.set_max_results(2);
  EXPECT_THAT(page(request), ElementsAre("b", "a"));
  EXPECT_THAT(page(request), ElementsAre("resnet-5"));
  EXPECT_EQ(request.next_token(), "");
}

TEST_F(ListTest, TheLastFullPageHasNoToken) {
  List request;
  request.set_max_results(5);
  page(request);
  EXPECT_EQ(request.next_token(), "");
}

TEST_F(ListTest, FiltersByTimesAndName) {
  List request;
  *request.mutable_creation_time_after() = TimeUtil::MillisecondsToTimestamp(1'700'000'010'000);
  *request.mutable_creation_time_before() = TimeUtil::MillisecondsToTimestamp(1'700'000'040'000);
  EXPECT_THAT(all(request), ElementsAre("a", "c"));
  request = {};
  *request.mutable_last_modified_time_after() =
      TimeUtil::MillisecondsToTimestamp(1'700'000'049'999);
  *request.mutable_last_modified_time_before() =
      TimeUtil::MillisecondsToTimestamp(1'700'000'060'000);
  EXPECT_THAT(all(request), ElementsAre("d"));
  request = {};
  request.set_name_contains("net-");
  EXPECT_THAT(all(request), ElementsAre("resnet-5"));
  request.set_name_contains("NET");
  EXPECT_THAT(all(request), IsEmpty());
}

TEST_F(ListTest, PagesStayConsistentWhileJobsComeAndGo) {
  List request;
  request.set_max_results(2);
  EXPECT_THAT(page(request), ElementsAre("b", "d"));
  store_.remove("d");  // the one that the token names
  add("early", 5s);
  EXPECT_THAT(page(request), ElementsAre("a", "c"));
}

TEST_F(ListTest, SummariesHaveTheirFields) {
  List request;
  request.set_name_contains("d");
  const auto summary = store_.list(request).training_job_summaries(0);
  EXPECT_EQ(summary.training_job_arn(), "arn:aws:sagemaker:local:000000000000:training-job/d");
  EXPECT_EQ(summary.training_job_status(), Status::Stopped);
  EXPECT_EQ(summary.secondary_status(), Secondary::Stopped);
  EXPECT_EQ(TimeUtil::TimestampToMilliseconds(summary.creation_time()), 1'700'000'010'000);
  EXPECT_EQ(TimeUtil::TimestampToMilliseconds(summary.training_end_time()), 1'700'000'050'000);
}

TEST_F(ListTest, BadRequestsNameTheirField) {
  const auto refused = [&](const std::string& field, const List& request) {
    expect_error(ErrorCode::kInvalidArgument, {field}, [&] { store_.list(request); });
  };
  List request;
  request.set_max_results(101);
  refused("MaxResults", request);
  request.set_max_results(-1);
  refused("MaxResults", request);
  request = {};
  request.set_name_contains("a%b");
  refused("NameContains", request);
  request = {};
  request.set_status_equals(static_cast<Status::Value>(99));
  refused("StatusEquals", request);
  request = {};
  request.set_sort_by(static_cast<v1::SortBy>(99));
  refused("SortBy", request);
  request = {};
  request.set_sort_order(static_cast<List::SortOrder>(-1));
  refused("SortOrder", request);
  for (const char* token : {"nonsense", "[]", "[\"id; DROP TABLE jobs\",false,\"x\",1]",
                            "[\"created\",false,\"x\",1]", "[\"created\",true,5,1]"}) {
    request = {};
    request.set_next_token(token);
    refused("NextToken", request);
  }
}

}  // namespace
}  // namespace musher
