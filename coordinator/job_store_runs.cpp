// What belongs to the runs of a job: epochs, attempts, generations, checkpoints.
#include <fmt/format.h>

#include "common/error.h"
#include "coordinator/job_store_impl.h"

namespace musher {
namespace {

using sqlite::Database;
using sqlite::Statement;
using sqlite::Transaction;

std::vector<HostSlots> read_placement(Database& database, std::int64_t id, std::uint64_t attempt) {
  Statement statement = database.prepare(
      "SELECT host, slots FROM placements WHERE job = ? AND attempt = ? ORDER BY number");
  statement.bind(id).bind(attempt);
  std::vector<HostSlots> placement;
  while (statement.step()) {
    HostSlots& host = placement.emplace_back();
    host.host = statement.text();
    host.slots = statement.small();
  }
  return placement;
}

std::vector<SliceRecord> read_slices(Database& database, std::int64_t id,
                                     const std::string& checkpoint) {
  Statement statement = database.prepare(
      "SELECT step, slice, slices, key, size, checksum, header FROM slices WHERE job = ? AND "
      "checkpoint = ? "
      "ORDER BY slice");
  statement.bind(id).bind(checkpoint);
  std::vector<SliceRecord> slices;
  while (statement.step()) {
    SliceRecord& slice = slices.emplace_back();
    slice.checkpoint = checkpoint;
    slice.step = statement.unsigned_integer();
    slice.slice = statement.small();
    slice.slices = statement.small();
    slice.key = statement.text();
    slice.size = statement.unsigned_integer();
    slice.checksum = statement.unsigned_integer();
    slice.header = statement.text();
  }
  return slices;
}

void read_members(Database& database, std::int64_t id, Generation& generation) {
  Statement members = database.prepare(
      "SELECT rank, host, pid FROM members WHERE job = ? AND generation = ? ORDER BY rank");
  members.bind(id).bind(generation.number);
  while (members.step()) {
    Member& member = generation.members.emplace_back();
    member.rank = members.small();
    member.host = members.text();
    member.pid = members.integer();
  }
  Statement workers = database.prepare(
      "SELECT rank FROM virtual_workers WHERE job = ? AND generation = ? ORDER BY virtual_worker");
  workers.bind(id).bind(generation.number);
  while (workers.step()) generation.virtual_worker_rank.push_back(workers.small());
}

std::optional<Generation> read_newest_generation(Database& database, std::int64_t id,
                                                 const char* condition) {
  Statement row = database.prepare(fmt::format(
      "SELECT number, attempt FROM generations WHERE job = ? {} ORDER BY number DESC LIMIT 1",
      condition));
  if (!row.bind(id).step()) return std::nullopt;
  Generation generation;
  generation.number = row.unsigned_integer();
  generation.attempt = row.unsigned_integer();
  read_members(database, id, generation);
  return generation;
}

}  // namespace

bool JobStore::add_epoch(const std::string& name, std::uint64_t attempt,
                         const v1::EpochReport& epoch, const Notice& notice) {
  const std::lock_guard lock(impl_->mutex);
  Database& database = impl_->database;
  Transaction transaction(database);
  const std::int64_t id = impl_->id_of(name);
  database.prepare("INSERT OR IGNORE INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?)")
      .bind(id)
      .bind(attempt)
      .bind(std::uint64_t{epoch.epoch()})
      .bind(std::uint64_t{epoch.samples()})
      .bind(std::uint64_t{epoch.sum()})
      .bind(std::uint64_t{epoch.undecodable_samples()})
      .bind(std::uint64_t{epoch.undecodable_sum()})
      .run();
  const bool is_new = database.changes() > 0;
  if (is_new) insert_notice(database, id, notice);
  transaction.commit();
  return is_new;
}

void JobStore::save_attempt(const std::string& name, const AttemptRecord& attempt) {
  const std::lock_guard lock(impl_->mutex);
  Database& database = impl_->database;
  Transaction transaction(database);
  const std::int64_t id = impl_->id_of(name);
  database.prepare("INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
      .bind(id)
      .bind(attempt.attempt)
      .bind(attempt.token)
      .bind(attempt.pid)
      .bind(attempt.pid_start)
      .bind(attempt.boot_id)
      .bind(to_ms(attempt.started))
      .bind(to_ms(attempt.ended))
      .run();
  database.prepare("DELETE FROM placements WHERE job = ? AND attempt = ?")
      .bind(id)
      .bind(attempt.attempt)
      .run();
  for (std::size_t i = 0; i < attempt.placement.size(); ++i) {
    database.prepare("INSERT INTO placements VALUES (?, ?, ?, ?, ?)")
        .bind(id)
        .bind(attempt.attempt)
        .bind(static_cast<std::int64_t>(i))
        .bind(attempt.placement[i].host)
        .bind(attempt.placement[i].slots)
        .run();
  }
  transaction.commit();
}

std::optional<AttemptRecord> JobStore::newest_attempt(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  const std::int64_t id = impl_->id_of(name);
  Statement row = impl_->database.prepare(
      "SELECT attempt, token, pid, pid_start, boot_id, started, ended FROM attempts WHERE job = ? "
      "ORDER BY attempt DESC LIMIT 1");
  if (!row.bind(id).step()) return std::nullopt;
  AttemptRecord attempt;
  attempt.attempt = row.unsigned_integer();
  attempt.token = row.text();
  attempt.pid = row.integer();
  attempt.pid_start = row.unsigned_integer();
  attempt.boot_id = row.text();
  attempt.started = from_ms(row.integer());
  attempt.ended = from_ms(row.maybe_integer());
  attempt.placement = read_placement(impl_->database, id, attempt.attempt);
  return attempt;
}

void JobStore::add_generation(const std::string& name, const Generation& generation, bool told) {
  const std::lock_guard lock(impl_->mutex);
  Database& database = impl_->database;
  Transaction transaction(database);
  const std::int64_t id = impl_->id_of(name);
  Statement newest = database.prepare("SELECT MAX(number) FROM generations WHERE job = ?");
  newest.bind(id).step();
  if (const auto number = newest.maybe_integer();
      number && static_cast<std::uint64_t>(*number) >= generation.number) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: generation {} can't follow generation {}", name, generation.number,
                            *number));
  }
  database.prepare("INSERT INTO generations VALUES (?, ?, ?, ?)")
      .bind(id)
      .bind(generation.number)
      .bind(generation.attempt)
      .bind(told ? 1 : 0)
      .run();
  for (const Member& member : generation.members) {
    database.prepare("INSERT INTO members VALUES (?, ?, ?, ?, ?)")
        .bind(id)
        .bind(generation.number)
        .bind(member.rank)
        .bind(member.host)
        .bind(member.pid)
        .run();
  }
  for (std::size_t v = 0; v < generation.virtual_worker_rank.size(); ++v) {
    database.prepare("INSERT INTO virtual_workers VALUES (?, ?, ?, ?)")
        .bind(id)
        .bind(generation.number)
        .bind(static_cast<std::int64_t>(v))
        .bind(generation.virtual_worker_rank[v])
        .run();
  }
  newest.run();
  transaction.commit();
}

std::optional<Generation> JobStore::newest_generation(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  return read_newest_generation(impl_->database, impl_->id_of(name), "");
}

std::optional<Generation> JobStore::newest_told_generation(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  return read_newest_generation(impl_->database, impl_->id_of(name), "AND told = 1");
}

void JobStore::tell_generation(const std::string& name, std::uint64_t number,
                               const Notice& notice) {
  const std::lock_guard lock(impl_->mutex);
  Database& database = impl_->database;
  Transaction transaction(database);
  const std::int64_t id = impl_->id_of(name);
  database.prepare("UPDATE generations SET told = 1 WHERE job = ? AND number <= ?")
      .bind(id)
      .bind(number)
      .run();
  insert_notice(database, id, notice);
  transaction.commit();
}

void JobStore::save_newcomer(const std::string& name, std::uint64_t attempt,
                             const NewcomerRecord& newcomer) {
  const std::lock_guard lock(impl_->mutex);
  impl_->database.prepare("INSERT OR REPLACE INTO newcomers VALUES (?, ?, ?, ?, ?, ?, ?)")
      .bind(impl_->id_of(name))
      .bind(attempt)
      .bind(newcomer.member.rank)
      .bind(newcomer.member.host)
      .bind(newcomer.member.pid)
      .bind(static_cast<int>(newcomer.state))
      .bind(newcomer.spawn)
      .run();
}

std::vector<NewcomerRecord> JobStore::newcomers(const std::string& name, std::uint64_t attempt) {
  const std::lock_guard lock(impl_->mutex);
  Statement statement = impl_->database.prepare(
      "SELECT rank, host, pid, state, spawn FROM newcomers WHERE job = ? AND attempt = ? ORDER BY "
      "rank");
  statement.bind(impl_->id_of(name)).bind(attempt);
  std::vector<NewcomerRecord> newcomers;
  while (statement.step()) {
    NewcomerRecord& record = newcomers.emplace_back();
    record.member.rank = statement.small();
    record.member.host = statement.text();
    record.member.pid = statement.integer();
    record.state = static_cast<NewcomerRecord::State>(statement.small());
    record.spawn = statement.small();
  }
  return newcomers;
}

std::vector<SliceRecord> JobStore::add_slice(const std::string& name, const SliceRecord& slice) {
  const std::lock_guard lock(impl_->mutex);
  const std::int64_t id = impl_->id_of(name);
  impl_->database.prepare("INSERT OR REPLACE INTO slices VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .bind(id)
      .bind(slice.checkpoint)
      .bind(slice.slice)
      .bind(slice.slices)
      .bind(slice.step)
      .bind(slice.key)
      .bind(slice.size)
      .bind(slice.checksum)
      .bind(slice.header)
      .run();
  return read_slices(impl_->database, id, slice.checkpoint);
}

void JobStore::commit_checkpoint(const std::string& name, const std::string& checkpoint,
                                 const CheckpointRecord& record, const Notice& notice) {
  const std::lock_guard lock(impl_->mutex);
  Database& database = impl_->database;
  Transaction transaction(database);
  const std::int64_t id = impl_->id_of(name);
  database.prepare("DELETE FROM slices WHERE job = ? AND checkpoint = ?")
      .bind(id)
      .bind(checkpoint)
      .run();
  database
      .prepare("INSERT OR REPLACE INTO checkpoints (job, uri, step, committed) VALUES (?, ?, ?, ?)")
      .bind(id)
      .bind(record.uri)
      .bind(record.step)
      .bind(to_ms(record.committed))
      .run();
  insert_notice(database, id, notice);
  transaction.commit();
}

std::vector<CheckpointRecord> JobStore::checkpoints(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  Statement statement = impl_->database.prepare(
      "SELECT uri, step, committed FROM checkpoints WHERE job = ? ORDER BY number");
  statement.bind(impl_->id_of(name));
  std::vector<CheckpointRecord> checkpoints;
  while (statement.step()) {
    CheckpointRecord& record = checkpoints.emplace_back();
    record.uri = statement.text();
    record.step = statement.unsigned_integer();
    record.committed = from_ms(statement.integer());
  }
  return checkpoints;
}

}  // namespace musher
