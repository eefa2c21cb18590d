#include "trainer/input/chunk.h"

#include <algorithm>
#include <span>
#include <tuple>
#include <utility>

#include "dataset/unpacked_tar.h"

namespace musher {
namespace {

/// Large enough that a request's latency does not matter, small enough that several run at once.
constexpr std::uint64_t kChunkBytes = 4 << 20;
/// Reading this much for nothing is cheaper than another request.
constexpr std::uint64_t kGapBytes = 64 << 10;

bool fits(const Chunk& chunk, const Sample& sample) {
  if (is_packed_tar_name(chunk.object)) return chunk.object == sample.object;
  const std::uint64_t end = chunk.offset + chunk.length;
  const std::uint64_t new_end = std::max(end, sample.offset + sample.size);
  return chunk.object == sample.object && sample.offset <= end + kGapBytes &&
         new_end - chunk.offset <= kChunkBytes;
}

}  // namespace

std::uint64_t Chunk::piece_bytes() const {
  std::uint64_t sum = 0;
  for (const Piece& piece : pieces) sum += piece.length;
  return sum;
}

std::uint64_t Chunk::read_bytes() const {
  return is_packed_tar_name(object) ? piece_bytes() : length;
}

void Chunk::fetch(ObjectStore& store) {
  if (length == 0) return;
  if (is_packed_tar_name(object)) {
    unpack(store);
  } else {
    cut(store.read(object, offset, length));
  }
}

/// The pieces lie one behind the other: plan_chunks() sorts them.
void Chunk::unpack(ObjectStore& store) {
  UnpackedTar tar(store, object, store.head(object).size);
  for (Piece& piece : pieces) piece.bytes = tar.read(offset + piece.offset, piece.length);
}

void Chunk::cut(std::vector<std::byte> read) {
  if (pieces.size() == 1 && pieces[0].length == read.size()) {
    pieces[0].bytes = std::move(read);
    return;
  }
  const std::span<const std::byte> all(read);
  for (Piece& piece : pieces) {
    const auto part = all.subspan(piece.offset, piece.length);
    piece.bytes.assign(part.begin(), part.end());
  }
}

void plan_chunks(std::vector<PlannedSample*>& samples) {
  std::vector<PlannedSample*> sorted = samples;
  std::sort(sorted.begin(), sorted.end(), [](const PlannedSample* a, const PlannedSample* b) {
    return std::tie(a->sample.object, a->sample.offset) <
           std::tie(b->sample.object, b->sample.offset);
  });
  std::shared_ptr<Chunk> chunk;
  for (PlannedSample* planned : sorted) {
    const Sample& sample = planned->sample;
    if (!chunk || !fits(*chunk, sample)) {
      chunk = std::make_shared<Chunk>();
      chunk->object = sample.object;
      chunk->offset = sample.offset;
    }
    chunk->length = std::max(chunk->length, sample.offset + sample.size - chunk->offset);
    planned->chunk = chunk;
    planned->piece = chunk->pieces.size();
    chunk->pieces.push_back({sample.offset - chunk->offset, sample.size, {}});
  }
}

}  // namespace musher
