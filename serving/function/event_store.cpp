#include "serving/function/event_store.h"

#include <chrono>

#include "serving/access/private_file.h"

namespace musher {
namespace {

// Times are milliseconds since the epoch. `executions` counts those that ended: one that a kill cut
// off is made again.
constexpr const char* kVersions[] = {R"sql(
CREATE TABLE events (
  number INTEGER PRIMARY KEY,
  request_id TEXT NOT NULL,
  function_arn TEXT NOT NULL,
  payload TEXT NOT NULL,
  accepted INTEGER NOT NULL,
  executions INTEGER NOT NULL,
  due INTEGER NOT NULL
);
)sql"};

std::int64_t to_ms(FunctionEvent::Time time) {
  return time.time_since_epoch().count();
}

FunctionEvent::Time from_ms(std::int64_t ms) {
  return FunctionEvent::Time(std::chrono::milliseconds(ms));
}

/// Before the lock file and the database are in it.
const std::filesystem::path& made(const std::filesystem::path& folder) {
  if (folder.has_parent_path()) make_folder(folder.parent_path());
  open_private_folder(folder.string());
  return folder;
}

}  // namespace

EventStore::EventStore(const std::filesystem::path& folder)
    : lock_(made(folder), "function"), database_(folder / "events.sqlite") {
  sqlite::bring_up_to_date(database_, kVersions);
}

std::vector<FunctionEvent> EventStore::all() {
  std::vector<FunctionEvent> events;
  sqlite::Statement rows = database_.prepare(
      "SELECT number, request_id, function_arn, payload, accepted, executions, due FROM events "
      "ORDER BY number");
  while (rows.step()) {
    FunctionEvent event;
    event.number = rows.integer();
    event.request_id = rows.text();
    event.function_arn = rows.text();
    event.payload = rows.text();
    event.accepted = from_ms(rows.integer());
    event.executions = rows.small();
    event.due = from_ms(rows.integer());
    events.push_back(std::move(event));
  }
  return events;
}

void EventStore::apply(const Changes& changes) {
  sqlite::Transaction transaction(database_);
  for (const FunctionEvent& event : changes.accepted) {
    database_.prepare("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(event.number)
        .bind(event.request_id)
        .bind(event.function_arn)
        .bind(event.payload)
        .bind(to_ms(event.accepted))
        .bind(event.executions)
        .bind(to_ms(event.due))
        .run();
  }
  for (const Retry& retry : changes.retries) {
    database_.prepare("UPDATE events SET executions = ?, due = ? WHERE number = ?")
        .bind(retry.executions)
        .bind(to_ms(retry.due))
        .bind(retry.number)
        .run();
  }
  for (const std::int64_t number : changes.ended)
    database_.prepare("DELETE FROM events WHERE number = ?").bind(number).run();
  transaction.commit();
}

}  // namespace musher
