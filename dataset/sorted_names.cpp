#include "dataset/sorted_names.h"

#include <algorithm>
#include <utility>

namespace musher {
namespace {

/// Never leaves the process: its checksum costs little, and finds what memory does to it.
constexpr Format kPiece{"piece of sorted names", "MSHN", 1};
constexpr std::size_t kPending = 1 << 18;
constexpr std::size_t kPieceNames = 4096;

}  // namespace

void SortedNames::add(std::string_view name, std::uint64_t number) {
  pending_.push_back({chars_.size(), static_cast<std::uint32_t>(name.size()), number});
  chars_ += name;
  ++size_;
  if (pending_.size() == kPending) make_run();
}

void SortedNames::make_run() {
  if (pending_.empty()) return;
  const std::string_view chars(chars_);
  const auto name = [&](const Pending& entry) { return chars.substr(entry.begin, entry.length); };
  std::ranges::sort(pending_, {}, name);
  Run& run = runs_.emplace_back();
  for (std::size_t begin = 0; begin < pending_.size(); begin += kPieceNames) {
    ByteWriter out(kPiece);
    std::string_view previous;
    for (std::size_t i = begin; i < std::min(begin + kPieceNames, pending_.size()); ++i) {
      out.front_coded(previous, name(pending_[i]));
      out.varint(pending_[i].number);
      previous = name(pending_[i]);
    }
    run.push_back(std::move(out).seal());
  }
  pending_.clear();
  chars_.clear();
}

bool SortedNames::Reader::Cursor::advance() {
  if (piece && piece->left() == 0) {
    piece.reset();
    run.pop_front();
  }
  if (!piece) {
    if (run.empty()) return false;
    piece.emplace(kPiece, run.front());
    name.clear();
  }
  piece->front_coded(name, "name");
  number = piece->varint("number");
  return true;
}

SortedNames::Reader::Reader(SortedNames names) {
  names.make_run();
  for (Run& run : names.runs_) cursors_.emplace_back().run = std::move(run);
  for (std::size_t i = 0; i < cursors_.size(); ++i) {
    if (cursors_[i].advance()) heap_.push_back(i);
  }
  const auto after = [&](std::size_t a, std::size_t b) {
    return cursors_[a].name > cursors_[b].name;
  };
  std::ranges::make_heap(heap_, after);
}

bool SortedNames::Reader::next() {
  const auto after = [&](std::size_t a, std::size_t b) {
    return cursors_[a].name > cursors_[b].name;
  };
  if (looking_) {
    if (cursors_[heap_.back()].advance()) {
      std::ranges::push_heap(heap_, after);
    } else {
      heap_.pop_back();
    }
  }
  looking_ = !heap_.empty();
  if (looking_) std::ranges::pop_heap(heap_, after);
  return looking_;
}

}  // namespace musher
