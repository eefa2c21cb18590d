#include "coordinator/endpoints/endpoint_store.h"

#include <gtest/gtest.h>

#include "coordinator/temporary_folder.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using test::expect_error;

v1::EndpointRecord record(const std::string& name) {
  v1::EndpointRecord record;
  record.set_name(name);
  record.set_status(v1::EndpointStatus::InService);
  record.mutable_settings()->set_target(3);
  v1::EndpointInstance& instance = *record.add_instances();
  instance.set_number(7);
  instance.mutable_process()->set_start(~0ULL);
  return record;
}

TEST(EndpointStore, KeepsWhatItIsGiven) {
  const TemporaryFolder folder("endpoint-store");
  v1::EndpointRecord dogs = record("dogs");
  {
    EndpointStore store(folder.path() / "endpoints.sqlite");
    store.create(dogs);
    store.create(record("cats"));
    dogs.set_desired(3);
    store.save(dogs);
  }
  EndpointStore store(folder.path() / "endpoints.sqlite");
  const auto all = store.all();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].name(), "cats");
  EXPECT_EQ(all[1].SerializeAsString(), dogs.SerializeAsString());
}

TEST(EndpointStore, ANameIsTakenInWhateverCase) {
  const TemporaryFolder folder("endpoint-store");
  EndpointStore store(folder.path() / "endpoints.sqlite");
  store.create(record("dogs"));
  expect_error(ErrorCode::kAlreadyExists, {"Dogs"}, [&] { store.create(record("Dogs")); });
}

TEST(EndpointStore, ActivitiesAreBoundedAndGoWithTheirEndpoint) {
  const TemporaryFolder folder("endpoint-store");
  EndpointStore store(folder.path() / "endpoints.sqlite");
  store.create(record("dogs"));
  store.create(record("cats"));
  v1::ScalingActivity activity;
  for (int i = 0; i < EndpointStore::kKept + 5; ++i) {
    activity.set_description(std::to_string(i));
    store.add_activity("dogs", activity);
  }
  store.add_activity("cats", activity);
  const auto newest = store.activities("dogs", 2);
  ASSERT_EQ(newest.size(), 2U);
  EXPECT_EQ(newest[0].description(), std::to_string(EndpointStore::kKept + 4));
  EXPECT_GT(newest[0].activity_id(), newest[1].activity_id());
  EXPECT_EQ(store.activities("dogs", 1'000'000).size(), std::size_t{EndpointStore::kKept});
  store.remove("dogs");
  EXPECT_TRUE(store.activities("dogs", 10).empty());
  EXPECT_EQ(store.activities("cats", 10).size(), 1U);
}

}  // namespace
}  // namespace musher
