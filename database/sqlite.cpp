#include "database/sqlite.h"

#include <limits>
#include <utility>

#include <fmt/format.h>
#include <sqlite3.h>

#include "common/error.h"

namespace musher::sqlite {
namespace {

constexpr int kBusyMilliseconds = 5'000;

[[noreturn]] void fail(sqlite3* database, std::string_view file, int code) {
  const char* reason = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code);
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      throw Error(
          ErrorCode::kDataLoss,
          fmt::format(
              "{} is damaged ({}): restore a copy, or move it away to start without what is in it",
              file, reason));
    case SQLITE_FULL:
      throw Error(ErrorCode::kResourceExhausted, fmt::format("{}: the disk is full", file));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw Error(ErrorCode::kUnavailable, fmt::format("{}: another program has it locked", file));
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      throw Error(ErrorCode::kPermissionDenied,
                  fmt::format("{} can't be written: {}", file, reason));
    case SQLITE_IOERR:
      throw Error(ErrorCode::kUnavailable, fmt::format("{}: {}", file, reason));
    default:
      throw Error(ErrorCode::kInternal, fmt::format("{}: {} (SQLite {})", file, reason, code));
  }
}

}  // namespace

Statement::Statement(sqlite3* database, std::string_view file, std::string_view sql)
    : database_(database), file_(file) {
  const int code =
      sqlite3_prepare_v2(database_, sql.data(), static_cast<int>(sql.size()), &statement_, nullptr);
  if (code != SQLITE_OK) fail(database_, file_, code);
}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      file_(std::move(other.file_)),
      statement_(std::exchange(other.statement_, nullptr)),
      bound_(other.bound_),
      column_(other.column_) {}

Statement::~Statement() {
  sqlite3_finalize(statement_);
}

Statement& Statement::bind(std::int64_t value) {
  const int code = sqlite3_bind_int64(statement_, ++bound_, value);
  if (code != SQLITE_OK) fail(database_, file_, code);
  return *this;
}

Statement& Statement::bind(double value) {
  const int code = sqlite3_bind_double(statement_, ++bound_, value);
  if (code != SQLITE_OK) fail(database_, file_, code);
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  // A null pointer would bind NULL rather than "".
  const char* data = value.data() != nullptr ? value.data() : "";
  const int code =
      sqlite3_bind_text64(statement_, ++bound_, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) fail(database_, file_, code);
  return *this;
}

Statement& Statement::bind(std::nullptr_t) {
  const int code = sqlite3_bind_null(statement_, ++bound_);
  if (code != SQLITE_OK) fail(database_, file_, code);
  return *this;
}

bool Statement::step() {
  column_ = 0;
  const int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) fail(database_, file_, code);
  return code == SQLITE_ROW;
}

void Statement::run() {
  while (step()) {
  }
}

std::int64_t Statement::integer() {
  return sqlite3_column_int64(statement_, column_++);
}

double Statement::real() {
  // SQLite keeps no NaN: it comes back as NULL.
  if (null()) return ++column_, std::numeric_limits<double>::quiet_NaN();
  return sqlite3_column_double(statement_, column_++);
}

std::string Statement::text() {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column_));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column_));
  ++column_;
  return data == nullptr ? std::string() : std::string(data, size);
}

bool Statement::null() const {
  return sqlite3_column_type(statement_, column_) == SQLITE_NULL;
}

std::optional<std::int64_t> Statement::maybe_integer() {
  if (null()) return ++column_, std::nullopt;
  return integer();
}

std::optional<std::string> Statement::maybe_text() {
  if (!null()) return text();
  ++column_;
  return std::nullopt;
}

Database::Database(const std::filesystem::path& file) : file_(file.string()) {
  const int code =
      sqlite3_open_v2(file_.c_str(), &database_,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  try {
    if (code != SQLITE_OK) fail(database_, file_, code);
    sqlite3_busy_timeout(database_, kBusyMilliseconds);
    execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON");
    Statement check = prepare("PRAGMA quick_check(1)");
    if (const std::string problem = check.step() ? check.text() : "no answer"; problem != "ok") {
      throw Error(
          ErrorCode::kDataLoss,
          fmt::format(
              "{} is damaged ({}): restore a copy, or move it away to start without what is in it",
              file_, problem));
    }
  } catch (...) {
    sqlite3_close_v2(database_);
    throw;
  }
}

Database::~Database() {
  sqlite3_close_v2(database_);
}

Statement Database::prepare(std::string_view sql) {
  return Statement(database_, file_, sql);
}

void Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(database_, file_, code);
}

int Database::changes() const {
  return sqlite3_changes(database_);
}

Transaction::Transaction(Database& database) : database_(database) {
  database_.execute("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const Error&) {
    // SQLite has rolled back by itself, as after a full disk.
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

void bring_up_to_date(Database& database, std::span<const char* const> versions) {
  Transaction transaction(database);
  const int newest = static_cast<int>(versions.size());
  const int version = [&] {  // a statement that is not over yet would hold the tables
    Statement statement = database.prepare("PRAGMA user_version");
    return statement.step() ? statement.small() : 0;
  }();
  if (version > newest) {
    throw Error(
        ErrorCode::kFailedPrecondition,
        fmt::format("{} was written by a newer Musher (schema {}, known is {}): start that one",
                    database.file(), version, newest));
  }
  if (version < newest) {
    for (const char* sql : versions.subspan(static_cast<std::size_t>(version))) {
      database.execute(sql);
    }
    database.execute(fmt::format("PRAGMA user_version={}", newest));
  }
  transaction.commit();
}

}  // namespace musher::sqlite
