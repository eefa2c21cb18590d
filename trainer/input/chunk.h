#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataset/manifest.h"
#include "storage/object_store.h"

namespace musher {

/// One read of an object and the samples that are cut out of it: one ranged read, or of a gzip tar
/// all that lies before the last of the samples, which is unpacked and thrown away. The bytes of a
/// sample are freed when it is decoded, so that a chunk shrinks while its samples are used in
/// whatever order.
struct Chunk {
  std::string object;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  struct Piece {
    std::uint64_t offset = 0;  ///< in the chunk
    std::uint64_t length = 0;
    std::vector<std::byte> bytes;  ///< after cut(), until the sample is decoded
  };
  std::vector<Piece> pieces;

  std::uint64_t first_step = 0;             ///< that needs it
  std::vector<std::uint64_t> waiting = {};  ///< steps that can't be decoded before it is here
  bool requested = false;
  bool ready = false;

  /// Of all pieces together; what is kept of the read, which also covers what lies between them.
  std::uint64_t piece_bytes() const;
  /// What it takes in memory while it is read.
  std::uint64_t read_bytes() const;
  /// Gives each piece its bytes.
  void fetch(ObjectStore& store);

 private:
  void cut(std::vector<std::byte> read);
  void unpack(ObjectStore& store);
};

/// A sample and where its bytes will be.
struct PlannedSample {
  Sample sample;
  std::shared_ptr<Chunk> chunk;
  std::size_t piece = 0;
};

/// Groups samples into reads: samples of one object that lie side by side, or nearly so (a tar
/// keeps headers and labels between its images), share a chunk of up to some MiB; all of one gzip
/// tar share one, however far apart. Fills in `chunk` and `piece` of each; their order stays.
void plan_chunks(std::vector<PlannedSample*>& samples);

}  // namespace musher
