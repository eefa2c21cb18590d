#include "coordinator/endpoints/endpoint_store.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include "common/error.h"

namespace musher {
namespace {

using Lock = std::lock_guard<std::mutex>;

// Messages are JSON, so that a person can read the file with sqlite3.
constexpr const char* kVersions[] = {R"sql(
CREATE TABLE endpoints (
  name TEXT PRIMARY KEY COLLATE NOCASE,
  record TEXT NOT NULL
);
CREATE TABLE activities (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  endpoint TEXT NOT NULL COLLATE NOCASE REFERENCES endpoints ON DELETE CASCADE,
  activity TEXT NOT NULL
);
CREATE INDEX activities_endpoint ON activities (endpoint, id);
)sql"};

std::string to_text(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok())
    throw Error(ErrorCode::kInvalidArgument, "can't be stored: " + status.ToString());
  return text;
}

template <typename Message>
Message from_text(const sqlite::Database& database, const std::string& text) {
  Message message;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message, options);
  if (!status.ok()) {
    throw Error(ErrorCode::kDataLoss, fmt::format("{} holds a message that can't be read: {}",
                                                  database.file(), status.ToString()));
  }
  return message;
}

}  // namespace

EndpointStore::EndpointStore(const std::filesystem::path& file) : database_(file) {
  sqlite::bring_up_to_date(database_, kVersions);
}

std::vector<v1::EndpointRecord> EndpointStore::all() {
  const Lock lock(mutex_);
  std::vector<v1::EndpointRecord> records;
  sqlite::Statement rows = database_.prepare("SELECT record FROM endpoints ORDER BY name");
  while (rows.step()) records.push_back(from_text<v1::EndpointRecord>(database_, rows.text()));
  return records;
}

void EndpointStore::create(const v1::EndpointRecord& record) {
  const Lock lock(mutex_);
  database_.prepare("INSERT OR IGNORE INTO endpoints VALUES (?, ?)")
      .bind(record.name())
      .bind(to_text(record))
      .run();
  if (database_.changes() == 0) {
    throw Error(ErrorCode::kAlreadyExists,
                fmt::format("there is an endpoint {} already", record.name()));
  }
}

void EndpointStore::save(const v1::EndpointRecord& record) {
  const Lock lock(mutex_);
  database_.prepare("UPDATE endpoints SET record = ? WHERE name = ?")
      .bind(to_text(record))
      .bind(record.name())
      .run();
}

void EndpointStore::remove(const std::string& name) {
  const Lock lock(mutex_);
  database_.prepare("DELETE FROM endpoints WHERE name = ?").bind(name).run();
}

void EndpointStore::add_activity(const std::string& name, const v1::ScalingActivity& activity) {
  const Lock lock(mutex_);
  sqlite::Transaction transaction(database_);
  database_.prepare("INSERT INTO activities (endpoint, activity) VALUES (?, ?)")
      .bind(name)
      .bind(to_text(activity))
      .run();
  database_
      .prepare(
          "DELETE FROM activities WHERE id IN (SELECT id FROM activities WHERE endpoint = ? "
          "ORDER BY id DESC LIMIT -1 OFFSET ?)")
      .bind(name)
      .bind(kKept)
      .run();
  transaction.commit();
}

std::vector<v1::ScalingActivity> EndpointStore::activities(const std::string& name, int most) {
  const Lock lock(mutex_);
  std::vector<v1::ScalingActivity> activities;
  sqlite::Statement rows = database_.prepare(
      "SELECT id, activity FROM activities WHERE endpoint = ? ORDER BY id DESC LIMIT ?");
  rows.bind(name).bind(most);
  while (rows.step()) {
    const std::int64_t id = rows.integer();
    activities.push_back(from_text<v1::ScalingActivity>(database_, rows.text()));
    activities.back().set_activity_id(id);
  }
  return activities;
}

}  // namespace musher
