#include "coordinator/job_store.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include "common/error.h"
#include "coordinator/job_store_impl.h"

namespace musher {
namespace {

using sqlite::Database;
using sqlite::Statement;
using sqlite::Transaction;

constexpr std::string_view kColumns =
    "id, request, workers, status, secondary, created, modified, training_start, training_end, "
    "ranks, retries_left, "
    "max_runtime, attempt, attempt_started, ran, stop, kill_at, killed, failure, artifact, "
    "max_wait, interruption, spot_interruption, max_pending, client_token, submitter, priority";

std::string to_text(const google::protobuf::Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (!status.ok())
    throw Error(ErrorCode::kInvalidArgument, "can't be stored: " + status.ToString());
  return text;
}

void from_text(const Database& database, const std::string& text,
               google::protobuf::Message& message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message, options);
  if (!status.ok()) {
    throw Error(ErrorCode::kDataLoss, fmt::format("{} holds a message that can't be read: {}",
                                                  database.file(), status.ToString()));
  }
}

Status::Value status_from(const Database& database, const std::string& name) {
  Status::Value value{};
  if (!Status::Value_Parse(name, &value)) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} holds an unknown status, {}", database.file(), name));
  }
  return value;
}

Secondary::Value secondary_from(const Database& database, const std::string& name) {
  Secondary::Value value{};
  if (!Secondary::Value_Parse(name, &value)) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} holds an unknown status, {}", database.file(), name));
  }
  return value;
}

std::optional<int> maybe_int(std::optional<std::int64_t> value) {
  return value ? std::optional<int>(static_cast<int>(*value)) : std::nullopt;
}

/// The columns of `state`, in the order of kColumns from `status` on.
void bind_state(Statement& statement, const JobState& state) {
  statement.bind(Status::Value_Name(state.status)).bind(Secondary::Value_Name(state.secondary));
  statement.bind(to_ms(state.created)).bind(to_ms(state.modified));
  statement.bind(to_ms(state.training_start)).bind(to_ms(state.training_end));
  statement.bind(state.ranks)
      .bind(state.retries_left)
      .bind(std::int64_t{state.max_runtime.count()});
  statement.bind(state.attempt)
      .bind(to_ms(state.attempt_started))
      .bind(std::int64_t{state.ran.count()});
  statement.bind(static_cast<int>(state.stop))
      .bind(to_ms(state.kill_at))
      .bind(state.killed ? 1 : 0);
  statement.bind(state.failure).bind(state.artifact);
  statement.bind(std::int64_t{state.max_wait.count()})
      .bind(state.interruption)
      .bind(state.spot_interruption ? 1 : 0)
      .bind(std::int64_t{state.max_pending.count()});
}

void save_lists(Database& database, std::int64_t id, const JobState& state) {
  for (std::size_t i = 0; i < state.transitions.size(); ++i) {
    const Transition& transition = state.transitions[i];
    database.prepare("INSERT OR REPLACE INTO transitions VALUES (?, ?, ?, ?, ?, ?)")
        .bind(id)
        .bind(static_cast<std::int64_t>(i))
        .bind(Secondary::Value_Name(transition.status))
        .bind(to_ms(transition.start))
        .bind(to_ms(transition.end))
        .bind(transition.message)
        .run();
  }
  database.prepare("DELETE FROM finished WHERE job = ?").bind(id).run();
  for (const auto& [rank, outcome] : state.finished) {
    database.prepare("INSERT INTO finished VALUES (?, ?, ?)")
        .bind(id)
        .bind(rank)
        .bind(static_cast<int>(outcome))
        .run();
  }
  database.prepare("DELETE FROM present WHERE job = ?").bind(id).run();
  for (const int rank : state.members) {
    database.prepare("INSERT INTO present VALUES (?, ?)").bind(id).bind(rank).run();
  }
  database.prepare("DELETE FROM lost WHERE job = ?").bind(id).run();
  for (const auto& [rank, loss] : state.lost) {
    database.prepare("INSERT INTO lost VALUES (?, ?, ?, ?, ?)")
        .bind(id)
        .bind(rank)
        .bind(to_ms(loss.at))
        .bind(loss.what)
        .bind(loss.seen ? 1 : 0)
        .run();
  }
}

void read_lists(Database& database, std::int64_t id, JobState& state) {
  Statement transitions = database.prepare(
      "SELECT status, start, \"end\", message FROM transitions WHERE job = ? ORDER BY number");
  transitions.bind(id);
  while (transitions.step()) {
    Transition& transition = state.transitions.emplace_back();
    transition.status = secondary_from(database, transitions.text());
    transition.start = from_ms(transitions.integer());
    transition.end = from_ms(transitions.maybe_integer());
    transition.message = transitions.text();
  }
  Statement finished = database.prepare("SELECT rank, outcome FROM finished WHERE job = ?");
  finished.bind(id);
  while (finished.step()) {
    const int rank = finished.small();
    state.finished[rank] = static_cast<RankOutcome>(finished.small());
  }
  Statement present = database.prepare("SELECT rank FROM present WHERE job = ?");
  present.bind(id);
  while (present.step()) state.members.insert(present.small());
  Statement lost = database.prepare("SELECT rank, at, what, seen FROM lost WHERE job = ?");
  lost.bind(id);
  while (lost.step()) {
    Loss& loss = state.lost[lost.small()];
    loss.at = from_ms(lost.integer());
    loss.what = lost.text();
    loss.seen = lost.small() != 0;
  }
}

void insert_metric(Database& database, std::int64_t id, bool final, const v1::Metric& metric) {
  database.prepare("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?)")
      .bind(id)
      .bind(final ? 1 : 0)
      .bind(metric.name())
      .bind(metric.step())
      .bind(metric.epoch())
      .bind(std::int64_t{metric.time_ms()})
      .bind(metric.value())
      .run();
}

std::vector<v1::Metric> read_metrics(Database& database, std::int64_t id, bool final) {
  Statement statement = database.prepare(
      "SELECT name, step, epoch, time, value FROM metrics WHERE job = ? AND final = ? ORDER BY "
      "time, name, step");
  statement.bind(id).bind(final ? 1 : 0);
  std::vector<v1::Metric> metrics;
  while (statement.step()) {
    v1::Metric& metric = metrics.emplace_back();
    metric.set_name(statement.text());
    metric.set_step(statement.unsigned_integer());
    metric.set_epoch(statement.unsigned_integer());
    metric.set_time_ms(statement.integer());
    metric.set_value(statement.real());
  }
  return metrics;
}

/// A row of kColumns.
JobRecord read_job(Database& database, Statement& row) {
  JobRecord job;
  JobState& state = job.state;
  const std::int64_t id = row.integer();
  from_text(database, row.text(), job.request);
  job.workers = maybe_int(row.maybe_integer());
  state.status = status_from(database, row.text());
  state.secondary = secondary_from(database, row.text());
  state.created = from_ms(row.integer());
  state.modified = from_ms(row.integer());
  state.training_start = from_ms(row.maybe_integer());
  state.training_end = from_ms(row.maybe_integer());
  state.ranks = row.small();
  state.retries_left = row.small();
  state.max_runtime = std::chrono::milliseconds(row.integer());
  state.attempt = row.unsigned_integer();
  state.attempt_started = from_ms(row.maybe_integer());
  state.ran = std::chrono::milliseconds(row.integer());
  state.stop = static_cast<StopReason>(row.small());
  state.kill_at = from_ms(row.maybe_integer());
  state.killed = row.small() != 0;
  state.failure = row.text();
  state.artifact = row.text();
  state.max_wait = std::chrono::milliseconds(row.integer());
  state.interruption = row.text();
  state.spot_interruption = row.small() != 0;
  state.max_pending = std::chrono::milliseconds(row.integer());
  if (auto token = row.maybe_text()) job.client_token = *std::move(token);
  job.submitter = row.text();
  job.priority = row.small();
  read_lists(database, id, state);
  job.final_metrics = read_metrics(database, id, true);
  return job;
}

}  // namespace

void insert_notice(Database& database, std::int64_t id, const Notice& notice) {
  database.prepare("INSERT OR IGNORE INTO notices VALUES (?, ?, ?)")
      .bind(id)
      .bind(to_ms(notice.time))
      .bind(notice.text)
      .run();
}

std::optional<std::int64_t> to_ms(const std::optional<WallTime>& time) {
  return time ? std::optional(to_ms(*time)) : std::nullopt;
}

std::optional<WallTime> from_ms(const std::optional<std::int64_t>& ms) {
  return ms ? std::optional(from_ms(*ms)) : std::nullopt;
}

std::int64_t JobStore::Impl::id_of(const std::string& name) {
  Statement statement = database.prepare("SELECT id FROM jobs WHERE name = ?");
  if (!statement.bind(name).step()) {
    throw Error(ErrorCode::kNotFound, fmt::format("there is no training job named \"{}\"", name));
  }
  return statement.integer();
}

JobStore::JobStore(const std::filesystem::path& folder) : impl_(std::make_unique<Impl>(folder)) {}
JobStore::~JobStore() = default;

void JobStore::create(const JobRecord& job) {
  const std::lock_guard lock(impl_->mutex);
  Database& database = impl_->database;
  Transaction transaction(database);
  if (database.prepare("SELECT 1 FROM jobs WHERE name = ?").bind(job.name()).step()) {
    throw Error(
        ErrorCode::kAlreadyExists,
        fmt::format(
            "there is a training job named \"{}\" already: choose another TrainingJobName, or "
            "delete that one",
            job.name()));
  }
  const bool has_token = !job.client_token.empty();
  if (has_token &&
      database.prepare("SELECT 1 FROM jobs WHERE client_token = ?").bind(job.client_token).step()) {
    throw Error(
        ErrorCode::kAlreadyExists,
        fmt::format("a job was submitted with the client token \"{}\" already", job.client_token));
  }
  Statement insert = database.prepare(
      "INSERT INTO jobs (name, request, workers, status, secondary, created, modified, "
      "training_start, "
      "training_end, ranks, retries_left, max_runtime, attempt, attempt_started, ran, stop, "
      "kill_at, killed, "
      "failure, artifact, max_wait, interruption, spot_interruption, max_pending, client_token, "
      "submitter, priority) "
      "VALUES (?, ?, "
      "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  insert.bind(job.name()).bind(to_text(job.request)).bind(job.workers);
  bind_state(insert, job.state);
  insert.bind(has_token ? std::optional(job.client_token) : std::nullopt);
  insert.bind(job.submitter).bind(job.priority);
  insert.run();
  const std::int64_t id = impl_->id_of(job.name());
  save_lists(database, id, job.state);
  for (const v1::Metric& metric : job.final_metrics) insert_metric(database, id, true, metric);
  transaction.commit();
}

JobRecord JobStore::get(const std::string& name) {
  if (auto job = find(name)) return std::move(*job);
  throw Error(ErrorCode::kNotFound, fmt::format("there is no training job named \"{}\"", name));
}

std::optional<JobRecord> JobStore::find(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  Statement row =
      impl_->database.prepare(fmt::format("SELECT {} FROM jobs WHERE name = ?", kColumns));
  if (!row.bind(name).step()) return std::nullopt;
  return read_job(impl_->database, row);
}

std::optional<JobRecord> JobStore::find_token(const std::string& client_token) {
  const std::lock_guard lock(impl_->mutex);
  Statement row =
      impl_->database.prepare(fmt::format("SELECT {} FROM jobs WHERE client_token = ?", kColumns));
  if (!row.bind(client_token).step()) return std::nullopt;
  return read_job(impl_->database, row);
}

std::vector<JobRecord> JobStore::unfinished() {
  const std::lock_guard lock(impl_->mutex);
  Statement row = impl_->database.prepare(fmt::format(
      "SELECT {} FROM jobs WHERE status NOT IN ('Completed', 'Failed', 'Stopped') ORDER BY id",
      kColumns));
  std::vector<JobRecord> jobs;
  while (row.step()) jobs.push_back(read_job(impl_->database, row));
  return jobs;
}

std::vector<std::string> JobStore::unfinished_names() {
  const std::lock_guard lock(impl_->mutex);
  Statement row = impl_->database.prepare(
      "SELECT name FROM jobs WHERE status NOT IN ('Completed', 'Failed', 'Stopped') ORDER BY id");
  std::vector<std::string> names;
  while (row.step()) names.push_back(row.text());
  return names;
}

void JobStore::save(const std::string& name, const JobState& state,
                    const std::vector<Notice>& notices) {
  const std::lock_guard lock(impl_->mutex);
  Database& database = impl_->database;
  Transaction transaction(database);
  const std::int64_t id = impl_->id_of(name);
  Statement update = database.prepare(
      "UPDATE jobs SET status = ?, secondary = ?, created = ?, modified = ?, training_start = ?, "
      "training_end = ?, "
      "ranks = ?, retries_left = ?, max_runtime = ?, attempt = ?, attempt_started = ?, ran = ?, "
      "stop = ?, "
      "kill_at = ?, killed = ?, failure = ?, artifact = ?, max_wait = ?, interruption = ?, "
      "spot_interruption = ?, max_pending = ? WHERE id = ?");
  bind_state(update, state);
  update.bind(id).run();
  save_lists(database, id, state);
  for (const Notice& notice : notices) insert_notice(database, id, notice);
  transaction.commit();
}

void JobStore::remove(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  impl_->database.prepare("DELETE FROM jobs WHERE id = ?").bind(impl_->id_of(name)).run();
}

void JobStore::add_notice(const std::string& name, const Notice& notice) {
  const std::lock_guard lock(impl_->mutex);
  insert_notice(impl_->database, impl_->id_of(name), notice);
}

std::vector<Notice> JobStore::notices(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  Statement statement =
      impl_->database.prepare("SELECT time, text FROM notices WHERE job = ? ORDER BY time, rowid");
  statement.bind(impl_->id_of(name));
  std::vector<Notice> notices;
  while (statement.step()) {
    const WallTime time = from_ms(statement.integer());
    notices.push_back({time, statement.text()});
  }
  return notices;
}

void JobStore::add_metrics(const std::string& name, const std::vector<v1::Metric>& metrics) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->database);
  const std::int64_t id = impl_->id_of(name);
  for (const v1::Metric& metric : metrics) insert_metric(impl_->database, id, false, metric);
  transaction.commit();
}

std::vector<v1::Metric> JobStore::metrics(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  return read_metrics(impl_->database, impl_->id_of(name), false);
}

void JobStore::save_final_metrics(const std::string& name, const std::vector<v1::Metric>& metrics) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->database);
  const std::int64_t id = impl_->id_of(name);
  impl_->database.prepare("DELETE FROM metrics WHERE job = ? AND final = 1").bind(id).run();
  for (const v1::Metric& metric : metrics) insert_metric(impl_->database, id, true, metric);
  transaction.commit();
}

void JobStore::save_progress(const std::string& name, const v1::ReportRequest& report) {
  const std::lock_guard lock(impl_->mutex);
  Database& database = impl_->database;
  const std::int64_t id = impl_->id_of(name);
  // Once a second and job: not worth a flush of the disk. SIGKILL of this process loses nothing
  // either way.
  database.execute("PRAGMA synchronous=NORMAL");
  database.prepare("UPDATE jobs SET progress = ? WHERE id = ?")
      .bind(to_text(report))
      .bind(id)
      .run();
  database.execute("PRAGMA synchronous=FULL");
}

std::optional<v1::ReportRequest> JobStore::progress(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  const std::int64_t id = impl_->id_of(name);
  Statement statement = impl_->database.prepare("SELECT progress FROM jobs WHERE id = ?");
  if (!statement.bind(id).step() || statement.null()) return std::nullopt;
  v1::ReportRequest report;
  from_text(impl_->database, statement.text(), report);
  return report;
}

}  // namespace musher
