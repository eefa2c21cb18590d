#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataset/byte_codec.h"

namespace musher {

/// Names with a number each, taken in any order and given back sorted by name, for lists that are
/// too long to be held as strings: all but the last few hundred thousand are kept in sorted runs of
/// front-coded names (about 15 bytes for the path of an image), which are merged as they are read.
/// A name that was added twice comes twice. One thread at a time. Inside dataset.
class SortedNames {
 public:
  void add(std::string_view name, std::uint64_t number);
  std::uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  class Reader;

 private:
  /// Sorted, in pieces that can be let go one by one.
  using Run = std::deque<std::vector<std::byte>>;

  struct Pending {
    std::uint64_t begin = 0;  ///< in chars_
    std::uint32_t length = 0;
    std::uint64_t number = 0;
  };

  void make_run();

  std::string chars_;
  std::vector<Pending> pending_;
  std::vector<Run> runs_;
  std::uint64_t size_ = 0;
};

/// Goes through names once: `while (reader.next()) …`. Lets go of what was read.
class SortedNames::Reader {
 public:
  explicit Reader(SortedNames names);

  bool next();
  const std::string& name() const { return front().name; }
  std::uint64_t number() const { return front().number; }

 private:
  /// Where a run stands: its next name.
  struct Cursor {
    Run run;
    std::optional<ByteReader> piece;
    std::string name;
    std::uint64_t number = 0;

    bool advance();
  };

  const Cursor& front() const { return cursors_[heap_.back()]; }

  std::vector<Cursor> cursors_;
  /// Indexes of those that have a name left, a heap with the smallest first; while a name is being
  /// looked at, its cursor is at the back, outside of the heap.
  std::vector<std::size_t> heap_;
  bool looking_ = false;
};

}  // namespace musher
