#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

/// SQLite in the few verbs that the stores use. Failures are `Error` with the file's name. One
/// thread at a time.
namespace musher::sqlite {

/// A prepared statement on its way through its rows. Parameters are bound, never pasted into the
/// text.
class Statement {
 public:
  Statement(sqlite3* database, std::string_view file, std::string_view sql);
  Statement(Statement&& other) noexcept;
  ~Statement();

  /// The next parameter, from the left.
  Statement& bind(std::int64_t value);
  Statement& bind(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(int value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(double value);
  Statement& bind(std::string_view value);
  Statement& bind(std::nullptr_t);
  template <typename T>
  Statement& bind(const std::optional<T>& value) {
    return value ? bind(*value) : bind(nullptr);
  }

  /// True with the next row, false after the last.
  bool step();
  /// For statements without rows.
  void run();

  /// The next column of the row, from the left.
  std::int64_t integer();
  std::uint64_t unsigned_integer() { return static_cast<std::uint64_t>(integer()); }
  int small() { return static_cast<int>(integer()); }
  double real();
  std::string text();
  /// Whether the next column is NULL; it stays the next one.
  bool null() const;
  std::optional<std::int64_t> maybe_integer();
  std::optional<std::string> maybe_text();

 private:
  sqlite3* database_;
  std::string file_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  int column_ = 0;
};

class Database {
 public:
  /// Opens or creates, in WAL mode with synchronous=FULL and foreign keys, and checks that the file
  /// is whole.
  explicit Database(const std::filesystem::path& file);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Statement prepare(std::string_view sql);
  /// One or more statements without parameters.
  void execute(const std::string& sql);
  /// Rows that the latest statement changed.
  int changes() const;
  const std::string& file() const { return file_; }

 private:
  std::string file_;
  sqlite3* database_ = nullptr;
};

/// Rolls back unless it is committed.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

/// Brings the tables to the newest of `versions`: SQL, each of which makes the next version of the
/// one before, from an empty file on. Throws kFailedPrecondition where they are newer still.
void bring_up_to_date(Database& database, std::span<const char* const> versions);

}  // namespace musher::sqlite
